"""Pairs between float ops that are kept: both forms and the deploy graph compute what the model did."""

from __future__ import annotations

import numpy as np
import pytest
from qdq_models import Builder, imported, layer_model
from same_numbers import compute, ops, parse

from qir.backends.ascend import deploy
from qir.backends.ascend.record import records
from qir.backends.fake_quant import lower
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import is_restored
from qir.passes.eliminate_identity import eliminate_identity
from qir.passes.qdq.pairs import PAIR
from qir.report import report_layers
from qir.runtime.deploy import DeploySession

SCALES = {"Add": 2**-4, "Mul": 2**-3, "Sigmoid": 2**-7, "Concat": 2**-4, "Neg": 2**-5, "Softmax": 2**-8}
"""Powers of two: multiplying by the inverse rounds as dividing does."""


def between(op: str) -> Builder:
    """Two convolutions whose rounded results meet in `op`, whose rounded result a third one reads."""
    made = Builder((2, 4, 6, 6), seed=3)
    x = made.pair(made.x, 2**-5, -7)
    branches: list[Value] = []
    for scale, zero in ((2**-4, 5), (2**-5, -20)):
        w = made.weight((4, 4, 1, 1), 0, folded=True, unsigned=False)
        branches.append(made.pair(made.node("Conv", [x, w], kernel_shape=(1, 1)), scale, zero))
    inputs: list[Value | None] = [*branches] if op in ("Add", "Concat", "Mul") else [branches[0]]
    y = made.node(op, inputs, **({"axis": 1} if op in ("Concat", "Softmax") else {}))
    y = made.pair(y, SCALES[op], -128 if op in ("Sigmoid", "Softmax") else 3)
    w = made.weight((4, 8 if op == "Concat" else 4, 1, 1), 0, folded=True, unsigned=False)
    made.graph.add_output(made.node("Conv", [y, w], kernel_shape=(1, 1)))
    made.graph.add_output(made.pair(made.node("Neg", [y]), SCALES["Neg"], 1))
    return made


def data(made: Builder) -> dict[str, np.ndarray]:
    shape = made.x.tensor.static_shape
    assert shape is not None
    return {"x": 3 * made.random.standard_normal(shape).astype(np.float32)}


def off(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    """The largest difference; outputs must have the same names."""
    assert list(expected) == list(found)
    return max(float(np.abs(expected[name] - found[name]).max()) for name in expected)


@pytest.mark.parametrize("op", list(SCALES))
def test_kept_pairs_give_the_numbers_of_the_model(op: str) -> None:
    made = between(op)
    feeds = data(made)
    expected = compute(made.graph, feeds)
    graph, context = imported(made.graph)
    assert not [r for r in context.rewrites.refusals() if r.kind == PAIR]
    assert off(expected, compute(lower(graph, "qdq"), feeds)) == 0
    ascend = compute(lower(graph, "ascend"), feeds)
    assert off(expected, ascend) <= 1e-5
    deployed = DeploySession(deploy.lower(graph)).run(None, feeds)
    assert off(ascend, dict(zip(ascend, deployed, strict=True))) == 0
    dropped, _ = imported(made.graph, "drop")
    assert off(expected, compute(lower(dropped, "qdq"), feeds)) > 1e-3  # the test can tell


def test_what_is_restored_is_restored_once_and_has_no_record() -> None:
    made = between("Mul")
    graph, context = imported(made.graph)
    restored = [node for node in graph.nodes if is_restored(node)]
    # Both inputs of the Mul; its result, which Conv reads as integers and Neg restored; the output.
    assert len(restored) == context.rewrites.counts()[PAIR] == 4
    lowered = deploy.lower(graph)
    found = ops(lowered)
    assert (found.count("AscendQuant"), found.count("AscendAntiQuant")) == (5, 4)
    assert "Identity" not in found
    assert not [key for key in records(graph) if ":" in key]
    assert {layer.op for layer in report_layers(graph, {})} == {"Conv"}
    assert ops(lower(graph, "qdq")).count("QuantizeLinear") == 5
    assert not eliminate_identity(graph, context.rewrites)


def moved(moves: str, scale: float) -> Graph:
    """A pair, `moves`, and a second pair of the given scale."""
    return parse(
        f"""
        graph @moved(%x: f32[1,2,4,4]) {{
          opsets {{onnx=17}}
          %s = const 0.0625 : f32[]
          %t = const {scale} : f32[]
          %z = const -5 : i8[]
          %shape = const [2,16] : i64[2]
          %q = QuantizeLinear "first"(%x, %s, %z) : i8[1,2,4,4]
          %d = DequantizeLinear(%q, %s, %z) : f32[1,2,4,4]
          {moves}
          %r = QuantizeLinear "second"(%m, %t, %z) : i8[2,16]
          %e = DequantizeLinear(%r, %t, %z) : f32[2,16]
          %y = Sigmoid(%e) : f32[2,16]
          return %y
        }}
        """
    )


RESHAPE = "%m = Reshape(%d, %shape) : f32[2,16]"
NEGATE = "%n = Neg(%d) : f32[1,2,4,4]\n%m = Reshape(%n, %shape) : f32[2,16]"
BOTH = "%n = Neg(%d) : f32[1,2,4,4]\n%o = Sub(%d, %n) : f32[1,2,4,4]\n%m = Reshape(%d, %shape) : f32[2,16]"


@pytest.mark.parametrize(
    ("moves", "scale", "kept"),
    [
        (RESHAPE, 0.0625, ["second"]),
        (RESHAPE, 0.125, ["first", "second"]),
        (NEGATE, 0.0625, ["first", "second"]),
    ],
)
def test_pairs_that_round_what_is_rounded_go(moves: str, scale: float, kept: list[str]) -> None:
    graph = moved(moves, scale)
    after, context = imported(graph)
    assert [event.node for event in context.rewrites.events() if event.kind == PAIR] == kept
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32) * 4}
    for form in ("ascend", "qdq"):
        assert off(compute(graph, feeds), compute(lower(after, form), feeds)) == 0


def test_a_second_rounding_of_a_value_that_others_read_too_goes() -> None:
    graph = moved(BOTH, 0.0625)
    graph.add_output(graph.value("o"))
    after, context = imported(graph)
    assert [event.node for event in context.rewrites.events() if event.kind == PAIR] == ["first"]
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32) * 4}
    assert off(compute(graph, feeds), compute(lower(after, "ascend"), feeds)) == 0


@pytest.mark.parametrize("form", ["ascend", "qdq"])
def test_layers_that_stay_in_float_read_what_they_did(form: str) -> None:
    """A MatMul with a scale per channel, and the float32 result of the conversion of its weight."""
    made = Builder((5, 6))
    x = made.pair(made.x, 1 / 32, -28)
    made.graph.add_output(made.node("MatMul", [x, made.weight((6, 3), 1, folded=True, unsigned=False)]))
    made.graph.add_output(made.node("MatMul", [x, made.weight((6, 3), None, folded=True, unsigned=False)]))
    graph, _ = imported(made.graph)
    feeds = data(made)
    expected, found = compute(made.graph, feeds), compute(lower(graph, form), feeds)
    assert off(expected, found) <= 1e-5


def test_what_cannot_be_kept_is_named() -> None:
    made = layer_model("Conv", False, True, True, True)
    wide = made.factors(0.25, 0, np.int16)
    made.graph.opsets[""] = 21
    x = made.node("DequantizeLinear", [made.node("QuantizeLinear", [made.x, *wide]), *wide])
    made.graph.add_output(made.node("Neg", [x]))
    _, context = imported(made.graph)
    (refusal,) = context.rewrites.refusals()
    assert refusal.reason.endswith("(Neg) is in float, and it rounds to i16, not int8")
