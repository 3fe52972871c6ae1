"""The rules of the Ascend target: specs of operands, and why a layer stays in float."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nets import Net

from qir.backends.ascend.rules import RULES
from qir.backends.targets import TARGETS, target_named
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError
from qir.ir.node import Attribute, Node
from qir.ir.types import QuantSpec, tensor
from qir.passes.pipeline import parse_pipeline, print_pipeline

I8 = DType.I8
LEFT = "its constant is the left operand; Ascend quantizes MatMul with the constant on the right only"


def node_of(op: str, weight: tuple[int, ...] | None, **attributes: Attribute) -> Node:
    net = Net()
    inputs = [net.input("N", 4, 8, 8)]
    if weight is not None:
        inputs.append(net.weight("w", *weight))
    net.add(op, "layer", list(inputs), None, attributes)
    return net.graph.node("layer")


def refusal(node: Node) -> str | None:
    return RULES.ops[node.op].refuse(node)


@pytest.mark.parametrize(
    ("op", "weight", "attributes"),
    [
        ("Conv", (6, 4, 3), {}),
        ("Conv", (6, 4, 3, 3), {"dilations": (2, 2)}),
        ("Conv", (6, 4, 3, 3, 3), {"dilations": (1, 2, 2)}),
        ("Conv", (4, 1, 3, 3), {"group": 4}),
        ("ConvTranspose", (4, 3, 2), {}),
        ("ConvTranspose", (4, 3, 2, 2), {"group": 2, "dilations": (1, 1)}),
        ("Gemm", (4, 3), {"alpha": 1.0, "beta": 1.0, "transB": 0}),
        ("MatMul", (4, 3), {}),
        ("AveragePool", None, {"kernel_shape": (2, 2), "count_include_pad": 1}),
    ],
)
def test_accepted(op: str, weight: tuple[int, ...] | None, attributes: dict[str, Attribute]) -> None:
    assert refusal(node_of(op, weight, **attributes)) is None


@pytest.mark.parametrize(
    ("op", "weight", "attributes", "reason"),
    [
        ("Conv", (6, 4, 3, 3, 3), {"dilations": (2, 1, 1)}, "depth dilation 2"),
        ("Conv", (6, 4, 1, 1, 1, 1), {}, "6 dimensions"),
        ("ConvTranspose", (4, 3, 2, 2, 2), {}, "5 dimensions"),
        ("ConvTranspose", (4, 3, 2, 2), {"dilations": (2, 1)}, r"dilations \[2, 1\]"),
        ("Gemm", (4, 3), {"transA": 1}, "transA=1"),
        ("Gemm", (3, 4), {"transB": 1}, "run normalize-gemm"),
        ("Gemm", (4, 3), {"alpha": 0.5}, "run normalize-gemm"),
        ("MatMul", (2, 4, 3), {}, "3 dimensions; Ascend needs 2"),
        ("AveragePool", None, {"kernel_shape": (2,)}, "1 spatial dimensions"),
        ("AveragePool", None, {"kernel_shape": (2, 2), "dilations": (1, 2)}, "dilated"),
    ],
)
def test_refused(
    op: str, weight: tuple[int, ...] | None, attributes: dict[str, Attribute], reason: str
) -> None:
    found = refusal(node_of(op, weight, **attributes))
    assert found is not None
    assert re.search(reason, found)


def test_operands_that_cannot_be_stored_as_integers() -> None:
    net = Net()
    x, y = net.input("N", 4), net.input("M", 4, name="y")
    half = net.graph.constant(np.ones((4, 4), np.float16), "half")
    weight = net.weight("w", 4, 4)
    net.add("MatMul", "both", [x, y], None)
    net.add("MatMul", "left", [weight, x], None)
    net.add("MatMul", "fixed", [weight, weight], None)
    net.add("MatMul", "half", [x, half], None)
    net.add("Gemm", "computed", [x, y], None)
    net.add("Conv", "bias", [x, net.weight("k", 4, 4, 1, 1), y], None)
    reasons = {n.name: refusal(n) for n in net.graph.nodes}
    assert reasons == {
        "both": "both of its operands are computed at run time; Ascend quantizes MatMul by a constant only",
        "left": LEFT,
        "fixed": LEFT,
        "half": "its operands are of different types: f32 and f16",
        "computed": "its weight 'y' is computed at run time; only constants can be stored as integers",
        "bias": "its bias 'y' is computed at run time; only constants can be stored as integers",
    }


def test_pools_of_other_types() -> None:
    net = Net()
    for dtype in (DType.F16, None):
        x = net.graph.add_input(f"x_{dtype}", tensor(DType.F16, (1, 2, 4, 4)))
        x.type = tensor(dtype, (1, 2, 4, 4)) if dtype else type(x.type)()
        node = net.graph.add("AveragePool", [x], attributes={"kernel_shape": (2, 2)})
        assert "float32" in (refusal(node) or "") or "infer-types" in (refusal(node) or "")


@pytest.mark.parametrize(
    ("op", "weight", "attributes", "int16", "int4"),
    [
        ("Conv", (6, 4, 3), {}, None, None),
        ("Conv", (6, 4, 3, 3), {}, None, None),
        ("Conv", (6, 4, 3, 3, 3), {}, "3 spatial dimensions", None),
        ("Conv", (6, 3, 3, 3), {}, None, "3 input channels"),
        ("Conv", (6, 2, 3, 3), {"group": 2}, None, "2 groups"),
        ("ConvTranspose", (3, 6, 2, 2), {}, None, "3 input channels"),
        ("ConvTranspose", (4, 3, 2, 2), {}, None, None),
        ("Gemm", (4, 3), {}, "no bias", None),
        ("MatMul", (5, 4), {}, "there is no INT16 form of MatMul", "5 input channels"),
        ("AveragePool", None, {"kernel_shape": (2, 2)}, "there is no INT16 form of AveragePool", None),
    ],
)
def test_other_precisions(
    op: str,
    weight: tuple[int, ...] | None,
    attributes: dict[str, Attribute],
    int16: str | None,
    int4: str | None,
) -> None:
    node, rule = node_of(op, weight, **attributes), RULES.ops[op]
    for found, reason in (
        (rule.refuse_precision(node, "activation", "int16"), int16),
        (rule.refuse_precision(node, "weight", "int4"), int4),
    ):
        assert found == reason if found is None or reason is None else reason in found


@pytest.mark.parametrize(
    ("op", "weight", "reason"),
    [
        ("Conv", (6, 4, 3, 3), None),
        ("Conv", (6, 1, 3, 3), None),
        ("Conv", (6, 4, 3), "it is a Conv with a weight of 3 dimensions; Ascend takes INT{} "),
        ("ConvTranspose", (4, 6, 3, 3), "it is a ConvTranspose with "),
        ("MatMul", (4, 6), "it is a MatMul with "),
    ],
)
@pytest.mark.parametrize("bits", [6, 7])
def test_six_and_seven_bits(op: str, weight: tuple[int, ...], reason: str | None, bits: int) -> None:
    def refused(width: int) -> str | None:
        return RULES.ops[op].refuse_precision(node_of(op, weight), "weight", f"int{width}")

    found = refused(bits)
    assert found is None if reason is None else (found or "").startswith(reason.format(bits))
    assert refused(8) is None
    assert refused(5) == "Ascend has no int5 weights, only int4, int6, int7, int8, float16, float32"


def test_tensors() -> None:
    net = Net()
    x, half = net.input("N", 4), net.graph.add_input("h", tensor(DType.F16, (4,)))
    pool = net.add("MaxPool", "pool", [x], None).producer
    add = net.add("Add", "add", [half, net.weight("w", 4)], None).producer
    assert RULES.tensors["MaxPool"](pool, 0) is None
    assert RULES.tensors["MaxPool"](pool, 1) == "MaxPool has no data input 1"
    assert RULES.tensors["Add"](add, 0) == "its input 'h' is f16; Ascend quantizes float32 tensors only"
    assert "is a constant" in RULES.tensors["Add"](add, 1)
    assert RULES.tensors["Add"](add, 2) == "Add has no data input 2"


def test_float16_layers_are_quantized_but_for_pools() -> None:
    net = Net()
    x = net.graph.add_input("x", tensor(DType.F16, (2, 4)))
    weight = net.graph.constant(np.ones((4, 4), np.float16), "w")
    assert refusal(net.add("MatMul", "mm", [x, weight], None).producer) is None
    double = net.graph.constant(np.ones((4, 4)), "d")
    reason = refusal(net.add("MatMul", "double", [x, double], None).producer)
    assert reason == "its weight 'd' is f64; only float32 and float16 layers are quantized"


@pytest.mark.parametrize(
    ("op", "weight", "attributes", "specs"),
    [
        (
            "Conv",
            (6, 4, 3, 3),
            {},
            (QuantSpec(I8, False), QuantSpec(I8, axis=0), QuantSpec(DType.I32, axis=0)),
        ),
        ("Conv", (6, 4, 1, 3, 3), {}, (QuantSpec(I8), QuantSpec(I8, axis=0), QuantSpec(DType.I32, axis=0))),
        (
            "ConvTranspose",
            (4, 3, 2, 2),
            {"group": 2},
            (QuantSpec(I8, False), QuantSpec(I8, axis=1, groups=2), QuantSpec(DType.I32, axis=0)),
        ),
        ("Gemm", (4, 3), {}, (QuantSpec(I8, False), QuantSpec(I8), QuantSpec(DType.I32))),
        ("MatMul", (4, 3), {}, (QuantSpec(I8, False), QuantSpec(I8), QuantSpec(DType.I32))),
        ("AveragePool", None, {"kernel_shape": (2, 2)}, (QuantSpec(I8, False),)),
    ],
)
def test_specs(
    op: str, weight: tuple[int, ...] | None, attributes: dict[str, Attribute], specs: tuple[QuantSpec, ...]
) -> None:
    node = node_of(op, weight, **attributes)
    assert tuple(o.spec(node) for o in RULES.ops[op].operands) == specs


def test_every_pipeline_parses_and_prints_back() -> None:
    for target in TARGETS.values():
        assert "default" in target.pipelines
        for text in target.pipelines.values():
            assert print_pipeline(parse_pipeline(text)) == text


def test_targets_by_name() -> None:
    target = target_named("ascend")
    assert target.name == "ascend"
    with pytest.raises(ConfigError, match="did you mean 'ascend'"):
        target_named("ascent")
