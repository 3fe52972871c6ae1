"""DeploySession: sums that float32 cannot hold, and the parameters of the Ascend ops."""

from __future__ import annotations

import numpy as np
import pytest
from deploy_graphs import OneLayer, check, conv, random_bias, random_params, random_weight, transposed
from deploy_oracle import run_deploy

from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.runtime.deploy import DeploySession
from qir.runtime.deploy.params import pack_params

# How sums are computed where float32 is not enough.


def test_extreme_values_just_below_2_24_stay_on_float32() -> None:
    products = (2**24 - 1) // (255 * 127)
    layer = OneLayer("MatMul", (2, products), np.full((products, 3), 127, np.int8), quant={"offset": -128.0})
    expected = layer.graph()
    x = np.full((2, products), 1e3, np.float32)
    sums = DeploySession(expected).run_integers({"x": x})[1]["layer"].accumulator
    assert np.array_equal(sums, np.full((2, 3), products * 255 * 127))
    check(layer)


def test_long_sums_of_matrices_run_on_float64() -> None:
    weight = np.full((9000, 3), -127, np.int8)
    check(OneLayer("MatMul", (2, 9000), weight, random_bias(3)), "float64")
    check(OneLayer("Gemm", (2, 9000), weight, random_bias(3)), "float64")


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_long_sums_of_convolutions_are_split_into_digits(op: str) -> None:
    cin = 160 if op == "Conv" else 600
    weight = np.full((3, cin, 3, 3) if op == "Conv" else (cin, 3, 3, 3), -127, np.int8)
    weight.reshape(-1)[::7] = 126
    check(OneLayer(op, (1, cin, 4, 4), weight, random_bias(3), params=random_params(3)), "digits")


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_int16_activations(op: str) -> None:
    quant = {"dst_type": "INT16", "scale": 3500.0, "offset": -700.0}
    shape = {"Conv": (6, 8, 3, 3), "ConvTranspose": (8, 6, 3, 3)}.get(op, (40, 6))
    x = (1, 8, 5, 5) if "Conv" in op else (3, 40)
    method = "digits" if "Conv" in op else "float64"
    check(OneLayer(op, x, random_weight(*shape), random_bias(6), quant=quant), method)


@pytest.mark.parametrize("op", ["Conv", "Gemm", "MatMul"])
def test_a_huge_bias_of_one_channel_rounds_once(op: str) -> None:
    shape, x = ((6, 8, 3, 3), (1, 8, 5, 5)) if op == "Conv" else ((40, 6), (3, 40))
    bias = random_bias(6)
    bias[2], bias[3] = 2**30 + 77, -(2**31) + 10**6 + 1
    layer = OneLayer(op, x, random_weight(*shape), bias)
    check(layer)
    assert not DeploySession(layer.graph()).layers[0].provable


# The parameters of AscendQuant, AscendDequant and AscendAntiQuant.


@pytest.mark.parametrize("mode", ["Round", "Floor", "Ceil", "Trunc"])
def test_round_modes(mode: str) -> None:
    layer = conv(2, (4, 3))
    layer.quant = {"round_mode": mode, "offset": 0.0}
    check(layer)


def test_sqrt_modes_relu_and_float16_results() -> None:
    layer = conv(2, (4, 3))
    layer.quant = {"sqrt_mode": 1, "scale": 4.5}
    layer.dequant = {"sqrt_mode": 1, "relu_flag": 1, "dtype": 1}
    found = check(layer)
    assert found.dtype == np.float16
    assert found.min() == 0


def test_float16_activations() -> None:
    layer = conv(2, (4, 3))
    layer.dtype = DType.F16
    check(layer)


@pytest.mark.parametrize("method", ["float32", "digits"])
def test_shifts_clip_to_int16(method: str) -> None:
    layer = conv(2, (4, 3 if method == "float32" else 800), size=4)
    layer.params = pack_params(np.array([1e-3, 2e-3, 1e-4, 0.5], np.float32), shift=[3, 0, 8, 1])
    check(layer, method)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm"])
def test_weight_offsets_are_taken_away(op: str) -> None:
    layer = transposed(2, 2) if op == "ConvTranspose" else conv(2, (6, 4), group=2)
    if op == "Gemm":
        layer = OneLayer("Gemm", (3, 40), random_weight(40, 6), random_bias(6))
    layer.params = pack_params(np.full(6, 1e-3, np.float32), weight_offset=[-128, 127, 3, 0, -1, 50])
    check(layer)


def test_tensors_that_only_travel_as_integers() -> None:
    graph = conv(2, (4, 3)).graph()
    old = graph.node("layer.quant").inputs[0]
    first = graph.nodes[0]
    given = {"scale": 12.5, "offset": 5.0, "dst_type": "INT8"}
    quant = graph.add("AscendQuant", [old], name="pool.quant", attributes=given, before=first)
    pool = {"kernel_shape": (2, 2)}
    moved = graph.add("MaxPool", [quant.output], name="pool", attributes=pool, before=first)
    back = {"scale": 0.08, "offset": 5.0, "dst_type": "INT8"}
    restored = graph.add("AscendAntiQuant", [moved.output], name="pool.anti", attributes=back, before=first)
    graph.node("layer.quant").set_input(0, restored.output)
    feeds = conv(2, (4, 3)).feeds()
    (expected,) = run_deploy(graph, feeds).values()
    assert np.array_equal(DeploySession(graph).run(None, feeds)[0], expected)


@pytest.mark.parametrize("filler", [None, 0.0])
def test_padding_between_quantization_and_layer_fills_with_the_zero_point(filler: float | None) -> None:
    pool = {"kernel_shape": (2, 2), "strides": (2, 2)}
    layer = OneLayer("AveragePool", (1, 2, 5, 5), attributes=pool, quant={"offset": 100.0})
    graph = layer.graph()
    pads = graph.constant(np.array([0, 0, 1, 1, 0, 0, 2, 2]), "pads")
    filled = [] if filler is None else [graph.constant(np.int8(filler), "zero")]
    quantized = graph.node("layer.quant").output
    pad = graph.add("Pad", [quantized, pads, *filled], name="pad", before=graph.node("layer"))
    graph.node("layer").set_input(0, pad.output)
    found = DeploySession(graph).run_integers(layer.feeds())[1]["layer"].input
    assert not found[:, :, 0].any()
    assert not found[:, :, -2:].any()
    assert found[:, :, 1:-2, 1:-2].any()
    wrong = graph.constant(np.int8(7), "seven")
    pad.set_input(2, wrong)
    with pytest.raises(ModelError, match="Pad 'pad' pads integers with something other than the constant 0"):
        DeploySession(graph)


@pytest.mark.parametrize("stored", ["INT8", "INT16", "INT4"])
def test_a_graph_may_return_integers(stored: str) -> None:
    graph = Graph("ends_in_quant", {"": 13})
    x = graph.add_input("x", conv(1, (1, 1)).graph().inputs[0].type)
    given = {"scale": 2.0, "offset": 3.0, "dst_type": stored}
    graph.add_output(graph.add("AscendQuant", [x], name="q", attributes=given).output)
    feeds = {"x": np.linspace(-90, 90, 45, dtype=np.float32).reshape(5, 1, 9)}
    (expected,) = run_deploy(graph, feeds).values()
    (found,) = DeploySession(graph).run(["q"], feeds)
    assert found.dtype == (np.int16 if stored == "INT16" else np.int8)
    assert np.array_equal(found, expected)
