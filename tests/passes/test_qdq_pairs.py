"""Pairs of QuantizeLinear and DequantizeLinear that feed float computation, and those that stay."""

from __future__ import annotations

import numpy as np
import pytest
from qdq_models import Builder, imported, int4
from same_numbers import compute, ops, parse

from qir.backends.fake_quant import lower
from qir.ir.dtypes import DType
from qir.passes.qdq.pairs import PAIR

SATURATED = """
graph @saturated(%x: f32[64]) {
  opsets {onnx=OPSET}
  %s = const 0.0234375 : f32[]
  %z = const ZERO
  %q = QuantizeLinear(%x, %s, %z) : QTYPE[64]
  %d = DequantizeLinear(%q, %s, %z) : f32[64]
  %n = Neg(%d) : f32[64]
  return %n
}
"""


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize(("zero", "bounds"), [("0 : u8[]", (0.0, 5.977)), ("-10 : i8[]", (-2.766, 3.211))])
def test_a_pair_that_goes_leaves_its_saturation(opset: int, zero: str, bounds: tuple[float, float]) -> None:
    """It may stand for a Relu6 that the quantizer took away."""
    text = SATURATED.replace("OPSET", str(opset)).replace("ZERO", zero).replace("QTYPE", zero[-4:-2])
    graph = parse(text)
    after, context = imported(graph, "drop")
    assert ops(after) == ["Clip", "Neg"]
    assert [r.kind for r in context.rewrites.refusals()] == ["import-qdq/pair"]
    x = np.linspace(-10, 10, 64, dtype=np.float32)
    before, found = (next(iter(compute(g, {"x": x}).values())) for g in (graph, after))
    assert np.abs(before - found).max() <= 0.0234375 / 2 + 1e-6
    assert found.max() == pytest.approx(-bounds[0], abs=0.02)
    assert found.min() == pytest.approx(-bounds[1], abs=0.02)


@pytest.mark.parametrize(
    ("before", "readers", "clips"),
    [
        ("Sigmoid", ["Neg"], 0),  # within [0, 1]; the pair reaches from 0 to 2
        ("Relu", ["Neg"], 1),  # may exceed 2
        ("Relu", ["Shape"], 0),  # reads no elements
        ("Abs", ["Transpose", "pair", "Neg"], 1),  # saturated behind the Transpose
        ("Abs", ["Transpose", "Neg", "pair", "Neg"], 2),
        ("Abs", ["Transpose", "narrow pair", "Neg"], 1),
        ("Abs", ["Transpose", "wide pair", "Neg"], 1),
    ],
)
def test_values_are_saturated_no_oftener_than_needed(before: str, readers: list[str], clips: int) -> None:
    made = Builder(("N", 4))
    scales = {"pair": 2 / 255, "narrow pair": 1 / 255, "wide pair": 4 / 255}
    value = made.pair(made.node(before, [made.x]), scales["pair"], 0, np.uint8)
    for op in readers:
        value = made.pair(value, scales[op], 0, np.uint8) if op in scales else made.node(op, [value])
    made.graph.add_output(value)
    after, _ = imported(made.graph, "drop")
    assert ops(after).count("Clip") == clips
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(ops(after))
    x = 3 * made.random.standard_normal((4, 4)).astype(np.float32)
    names = (made.graph.outputs[0].name, after.outputs[0].name)
    expected, found = (compute(g, {"x": x})[n] for g, n in zip((made.graph, after), names, strict=True))
    assert np.abs(expected.astype(np.float64) - found).max() <= 2 * 4 / 255


def test_branches_compute_in_float() -> None:
    graph = parse(
        """
        graph @branches(%x: f32[2,2], %c: bool[]) {
          opsets {onnx=17}
          %s = const 0.5 : f32[]
          %w = const [1.0,2.0,3.0,4.0] : f32[2,2]
          %q = QuantizeLinear(%x, %s) : u8[2,2]
          %d = DequantizeLinear(%q, %s) : f32[2,2]
          %y = If "if"(%c) {
            else_branch = graph @else() {
              %e = Neg(%d) : f32[2,2]
              return %e
            },
            then_branch = graph @then() {
              %v = const 0.25 : f32[]
              %iq = QuantizeLinear(%w, %v) : u8[2,2]
              %id = DequantizeLinear(%iq, %v) : f32[2,2]
              %m = MatMul "inner"(%d, %id) : f32[2,2]
              return %m
            }
          } : f32[2,2]
          return %y
        }
        """
    )
    after, context = imported(graph)
    assert [r.node for r in context.rewrites.refusals() if r.kind == PAIR] == ["iq"]
    inner = [node for body in after.node("if").subgraphs for node in body.nodes]
    assert sorted(node.op for node in inner) == ["MatMul", "Neg"]
    reason = next(node for node in inner if node.op == "MatMul").metadata["qir.float"]
    assert "body of If 'if'" in reason
    x = np.array([[-1.0, 0.25], [1.0, 200.0]], np.float32)
    for chosen in (True, False):
        feeds = {"x": x, "c": np.asarray(chosen)}
        for form in ("ascend", "qdq"):
            expected, found = (compute(g, feeds)["y"] for g in (graph, lower(after, form)))
            assert np.array_equal(expected, found)


def test_scales_computed_at_run_time_stay() -> None:
    graph = parse(
        """
        graph @dynamic(%x: f32[2,2], %s: f32[]) {
          opsets {onnx=17}
          %w = const [1,2,3,4] : i8[2,2]
          %v = const 0.5 : f32[]
          %z = const 0 : u8[]
          %q = QuantizeLinear "q"(%x, %s, %z) : u8[2,2]
          %d = DequantizeLinear "d"(%q, %s, %z) : f32[2,2]
          %e = DequantizeLinear "e"(%w, %v) : f32[2,2]
          %y = MatMul "y"(%d, %e) : f32[2,2]
          return %y
        }
        """
    )
    after, _ = imported(graph)
    assert ops(after) == ["QuantizeLinear", "DequantizeLinear", "MatMul"]
    assert "the scale 's' of 'q' is computed at run time" in after.node("y").metadata["qir.float"]


@pytest.mark.parametrize("kind", [DType.I4, DType.I16])
def test_tensors_of_other_widths_do_not_travel_as_integers(kind: DType) -> None:
    """Ascend restores INT8 in front of an Add; and layers do not take 4 bits."""
    made = Builder((3, 4), opset=21)
    zero = int4(np.array(0)) if kind is DType.I4 else np.asarray(0, np.int16)
    both = [made.graph.constant(np.float32(0.25), "scale"), made.graph.constant(zero, "zero_point")]
    x = made.node("DequantizeLinear", [made.node("QuantizeLinear", [made.x, *both]), *both])
    made.graph.add_output(made.node("Add", [x, x]))
    made.graph.add_output(made.node("MatMul", [x, made.weight((4, 2), None, True, False)]))
    after, _ = imported(made.graph)
    assert ops(after) == ["Clip", "Add", "MatMul"]
    reason = after.node("MatMul").metadata["qir.float"]
    assert reason == (
        "its input is i4, not int8 or int16" if kind is DType.I4 else "there is no INT16 form of MatMul"
    )
    x_data = made.random.standard_normal((3, 4)).astype(np.float32)
    expected, found = (compute(g, {"x": x_data})["Add"] for g in (made.graph, after))
    assert np.abs(expected - found).max() <= 0.25
