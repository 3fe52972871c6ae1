"""What an imported QDQ model computes is what ONNX Runtime computes with the model itself."""

from __future__ import annotations

import numpy as np
import pytest
from qdq_models import Builder, difference, imported, int4, layer_model

from qir.backends.fake_quant import lower
from qir.backends.layers import read_layers
from qir.ir.dtypes import DType
from qir.ir.node import Value
from qir.ir.quants import quantized_layers


@pytest.mark.parametrize("integer_bias", [False, True], ids=["float-bias", "int32-bias"])
@pytest.mark.parametrize("folded", [False, True], ids=["floats", "integers"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["per-tensor", "per-channel"])
@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
@pytest.mark.parametrize("op", ["Conv", "Conv1", "ConvTranspose", "Gemm", "MatMul", "AveragePool"])
def test_layers_compute_what_they_did(
    op: str, unsigned: bool, per_channel: bool, folded: bool, integer_bias: bool
) -> None:
    made = layer_model(op, unsigned, per_channel, folded, integer_bias)
    graph, context = imported(made.graph)
    assert not context.rewrites.refusals()
    assert len(read_layers(graph)) == 1
    x = 3 * made.random.standard_normal(made.x.tensor.static_shape).astype(np.float32)
    # A bias that was in float is rounded now: by half a step of the accumulator.
    tolerance = 1e-6 if integer_bias or op == "AveragePool" else 2e-4
    assert difference(made.graph, lower(graph, "qdq"), x) <= tolerance
    # The scale of the input is a power of two, so that multiplying by its inverse rounds as dividing does.
    assert difference(made.graph, lower(graph, "ascend"), x) <= tolerance


def test_a_model_in_form_qdq_comes_back() -> None:
    """What qir writes itself, it reads."""
    made = layer_model("Conv", False, True, False, False)
    graph, _ = imported(made.graph)
    again, _ = imported(lower(graph, "qdq"))
    old, new = read_layers(graph)[0], read_layers(again)[0]
    assert old.activation == new.activation
    assert old.weight is not None
    assert new.weight is not None
    assert np.array_equal(old.weight.integers(), new.weight.integers())
    assert old.bias is not None
    assert new.bias is not None
    assert np.array_equal(old.bias.integers(), new.bias.integers())
    assert old.bias.params == new.bias.params


def test_large_integers_of_a_bias_survive_but_for_float_rounding() -> None:
    made = Builder((1, 1, 2, 2))
    x = made.pair(made.x, 0.5, 0)
    integers = made.graph.constant(np.array([[[[3]]], [[[-5]]]], np.int8), "w")
    w = made.node("DequantizeLinear", [integers, *made.factors(0.25, 0, np.int8)])
    stored = made.graph.constant(np.array([2**31 - 1, 2**24 + 1], np.int32), "b")
    b = made.node("DequantizeLinear", [stored, *made.factors(0.125, 0, np.int32)])
    made.graph.add_output(made.node("Conv", [x, w, b], kernel_shape=(1, 1)))
    graph, _ = imported(made.graph)
    assert difference(made.graph, lower(graph), np.ones((1, 1, 2, 2), np.float32)) <= 2e-7


@pytest.mark.parametrize("bias", [False, True])
def test_a_channel_whose_scale_is_almost_nothing_costs_nothing(bias: bool) -> None:
    """Dead channels have such scales; multiplied by the input's they would vanish."""
    made = Builder((1, 2, 3, 3))
    x = made.pair(made.x, 1 / 32, 0)
    integers = made.graph.constant(made.random.integers(-127, 128, (2, 2, 1, 1)).astype(np.int8), "w")
    scales = [0.02, 1.2e-38]
    w = made.node("DequantizeLinear", [integers, *made.factors(scales, 0, np.int8)], axis=0)
    b = made.graph.constant(np.array([0.5, -0.75], np.float32), "b") if bias else None
    made.graph.add_output(made.node("Conv", [x, w, b], kernel_shape=(1, 1)))
    graph, _ = imported(made.graph)
    scale = read_layers(graph)[0].dequant_scale
    assert (scale >= np.finfo(np.float32).tiny).all()
    data = made.random.standard_normal((1, 2, 3, 3)).astype(np.float32)
    tolerance = 1e-3 if bias else 1e-6  # half a step of the first channel's bias
    assert difference(made.graph, lower(graph), data) <= tolerance


def test_an_input_whose_scale_has_no_inverse_stays_in_float() -> None:
    """Ascend multiplies by it."""
    made = Builder((3, 4))
    x = made.pair(made.x, 1e-39, 0)
    made.graph.add_output(made.node("MatMul", [x, made.weight((4, 2), None, True, False)]))
    graph, _ = imported(made.graph)
    assert "the inverse of its input's scale" in graph.node("MatMul").metadata["qir.float"]


@pytest.mark.parametrize(("rows", "stored"), [(6, DType.I4), (5, DType.I8)])
def test_int4_weights_stay_int4_where_they_can_be_packed(rows: int, stored: DType) -> None:
    made = Builder((3, rows), opset=21)
    x = made.pair(made.x, 1 / 32, 5)
    held = int4(made.random.integers(-8, 8, (rows, 4)))
    scale = made.graph.constant(np.float32(0.125), "scale")
    w = made.node("DequantizeLinear", [made.graph.constant(held, "w"), scale])
    made.graph.add_output(made.node("MatMul", [x, w]))
    graph, _ = imported(made.graph)
    layer = read_layers(graph)[0]
    assert layer.weight is not None
    assert layer.weight.params.spec.qtype is stored
    data = made.random.standard_normal((3, rows)).astype(np.float32)
    assert difference(made.graph, lower(graph), data) <= 1e-6


@pytest.mark.parametrize(
    ("kind", "zero", "refusal"),
    [(DType.U4, 8, None), (DType.I4, -3, "zero point -3"), (DType.U4, 6, "point -2")],
)
def test_zero_points_of_4_bits(kind: DType, zero: int, refusal: str | None) -> None:
    made = Builder((3, 6), opset=21)
    x = made.pair(made.x, 1 / 32, 5)
    low, _ = kind.integer_range
    weight = int4(made.random.integers(low, low + 16, (6, 4)), kind)
    inputs: list[Value | None] = [
        made.graph.constant(weight, "w"),
        made.graph.constant(np.float32(0.125), "scale"),
        made.graph.constant(int4(np.array(zero), kind), "zero_point"),
    ]
    made.graph.add_output(made.node("MatMul", [x, made.node("DequantizeLinear", inputs)]))
    graph, _ = imported(made.graph)
    if refusal is not None:
        assert refusal in graph.nodes[-1].metadata["qir.float"]
        return
    data = made.random.standard_normal((3, 6)).astype(np.float32)
    assert len(read_layers(graph)) == 1
    assert difference(made.graph, lower(graph), data) <= 1e-6


def test_blocks_of_scales_stay_in_float() -> None:
    made = Builder((3, 4), opset=21)
    x = made.pair(made.x, 1 / 32, 5)
    integers = made.graph.constant(made.random.integers(-8, 8, (4, 2)).astype(np.int8), "w")
    scales = made.graph.constant(np.array([[0.5, 0.25], [0.125, 1]], np.float32), "scale")
    w = made.node("DequantizeLinear", [integers, scales], axis=0, block_size=2)
    y = made.node("MatMul", [x, w])
    made.graph.add_output(y)
    graph, _ = imported(made.graph)
    assert not quantized_layers(graph)
    assert "one scale for each block of 2" in graph.nodes[-1].metadata["qir.float"]
    data = made.random.standard_normal((3, 4)).astype(np.float32)
    assert difference(made.graph, graph, data) <= 0.02  # the input is not rounded any more


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_int16_inputs(domain: str) -> None:
    """Before opset 21, ONNX Runtime's own domain has them."""
    made = Builder((1, 4, 5, 5), opset=17 if domain else 21)
    if domain:
        made.graph.opsets[domain] = 1
    both = made.factors(2**-12, 1000, np.uint16)
    stored = made.node("QuantizeLinear", [made.x, *both], domain=domain)
    x = made.node("DequantizeLinear", [stored, *both], domain=domain)
    w = made.weight((6, 4, 3, 3), 0, folded=True, unsigned=False)
    made.graph.add_output(made.node("Conv", [x, w, made.bias(None, 6)], kernel_shape=(3, 3)))
    graph, _ = imported(made.graph)
    layer = read_layers(graph)[0]
    assert layer.activation.spec.qtype is DType.I16
    assert layer.activation.zero_point == (1000 - 2**15,)
    data = made.random.standard_normal((1, 4, 5, 5)).astype(np.float32)
    assert difference(made.graph, lower(graph), data) <= 1e-5


@pytest.mark.parametrize("unsigned", [False, True])
def test_narrow_ranges(unsigned: bool) -> None:
    """PyTorch clips the integers of activations to 7 bits, and of weights to -127 and 127."""
    made = Builder((2, 4, 6, 6))
    dtype, zero, low, high = (np.uint8, 40, 0, 127) if unsigned else (np.int8, -20, -64, 63)
    both = made.factors(0.06, zero, dtype)
    bounds = [made.graph.constant(np.asarray(b, dtype), "bound") for b in (low, high)]
    stored = made.node("QuantizeLinear", [made.x, *both])
    x = made.node("DequantizeLinear", [made.node("Clip", [stored, *bounds]), *both])
    floats = made.graph.constant(made.random.standard_normal((6, 4, 3, 3)).astype(np.float32), "weight")
    scales = made.factors(0.001 + 0.02 * made.random.random(6), 0, np.int8)
    narrow = [made.graph.constant(np.asarray(b, np.int8), "bound") for b in (-127, 127)]
    integers = made.node("QuantizeLinear", [floats, *scales], axis=0)
    w = made.node("DequantizeLinear", [made.node("Clip", [integers, *narrow]), *scales], axis=0)
    made.graph.add_output(made.node("Conv", [x, w], kernel_shape=(3, 3)))
    graph, context = imported(made.graph)
    assert not context.rewrites.refusals()
    (layer,) = read_layers(graph)
    assert layer.weight is not None
    assert layer.weight.integers().min() == -127
    data = 3 * made.random.standard_normal((2, 4, 6, 6)).astype(np.float32)
    assert (data > 0.06 * (high - zero)).any()
    assert difference(made.graph, lower(graph, "qdq"), data) <= 1e-6
