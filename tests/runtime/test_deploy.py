"""DeploySession against AMCT's own models, and layer by layer against the integer oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deploy_graphs import OneLayer, random_bias, random_params, random_weight
from deploy_oracle import run_all, run_deploy
from hypothesis import given, settings
from hypothesis import strategies as st

import qir
from qir.frontends.onnx import read_model, to_model
from qir.ir.dtypes import DType
from qir.runtime.deploy import DeploySession, fake_quant_values
from qir.runtime.deploy.params import pack_params
from qir.runtime.session import Session

GOLDEN = Path(__file__).parent.parent / "data" / "amct"
NETS = ("cnn_bn", "resid", "decon", "mlp", "vol", "default_sym", "hfmg", "dmq", "fp16", "int4")


def check(layer: OneLayer, method: str = "float32", *, optimize: bool = True) -> np.ndarray:
    """Compare a layer with the oracle, outputs and integers to the bit; returns the output."""
    graph, feeds = layer.graph(), layer.feeds()
    values = run_all(graph, feeds)
    session = DeploySession(graph, threads=1, optimize=optimize)
    (info,) = session.layers
    assert info.method == method
    outputs, integers = session.run_integers(feeds)
    (expected,) = (values[o.name] for o in graph.outputs)
    assert outputs[0].dtype == expected.dtype
    assert np.array_equal(outputs[0], expected)
    assert np.array_equal(session.run(None, feeds)[0], expected)
    quantized, sums = values["layer.quant"], values[graph.node(info.last).output.name]
    assert np.array_equal(integers["layer"].input, quantized.q - quantized.offset)
    assert np.array_equal(integers["layer"].accumulator, sums)
    assert np.abs(sums).max() <= info.bound
    assert np.ptp(expected) > 0
    return expected


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("net", NETS)
def test_golden_deploy_models_equal_their_fake_quant_models(net: str, optimize: bool) -> None:
    data = np.load(GOLDEN / net / "test.npz")
    session = DeploySession(GOLDEN / net / "amct_deploy_model.onnx", optimize=optimize)
    feeds = {session.get_inputs()[0].name: data["input"]}
    outputs, integers = session.run_integers(feeds)
    expected = data["fake_quant_output"]
    assert np.abs(outputs[0] - expected).max() <= 1e-6 * np.abs(expected).max()
    fake = read_model(GOLDEN / net / "amct_fake_quant_model.onnx")
    values = fake_quant_values(fake, session.layers)
    taps = [name for pair in values.values() for name in pair]
    results = Session(fake, taps=taps, threads=1, optimize=False).run(feeds)
    assert len(integers) == len([n for n in fake.nodes if n.name.endswith(".fakedequant.mul")])
    for name, pair in values.items():
        assert np.array_equal(integers[name].input, results[pair.input])
        assert np.array_equal(integers[name].accumulator, results[pair.accumulator])


@pytest.mark.parametrize("net", [n for n in NETS if n != "int4"])
def test_the_oracle_agrees_on_golden_models(net: str) -> None:
    data = np.load(GOLDEN / net / "test.npz")
    graph = read_model(GOLDEN / net / "amct_deploy_model.onnx")
    feeds = {graph.inputs[0].name: data["input"]}
    (expected,) = run_deploy(graph, feeds).values()
    found = DeploySession(graph, optimize=False).run(None, feeds)[0]
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def conv(
    rank: int, channels: tuple[int, int], group: int = 1, size: int = 9, **attributes: object
) -> OneLayer:
    cout, cin = channels
    return OneLayer(
        "Conv",
        (2, cin, *[size] * rank),
        random_weight(cout, cin // group, *[3] * rank),
        random_bias(cout),
        {"group": group, "kernel_shape": (3,) * rank, **attributes},
        params=random_params(cout),
    )


CONVS = {
    "1d": conv(1, (5, 4), pads=(2, 0)),
    "2d": conv(2, (6, 3), pads=(1, 1, 1, 1)),
    "3d": conv(3, (4, 2), size=5, pads=(1, 0, 1, 0, 1, 1), strides=(2, 1, 1)),
    "grouped": conv(2, (6, 4), group=2, pads=(1, 1, 1, 1)),
    "depthwise": conv(2, (8, 8), group=8, pads=(1, 1, 1, 1), strides=(2, 2)),
    "multiplied depthwise": conv(2, (8, 4), group=4),
    "dilated": conv(2, (3, 2), dilations=(2, 3), pads=(2, 3, 2, 3)),
    "same upper": conv(2, (3, 2), auto_pad="SAME_UPPER", strides=(2, 2), size=8),
    "same lower": conv(2, (3, 2), auto_pad="SAME_LOWER", strides=(2, 2), size=8),
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("name", CONVS)
def test_convolutions(name: str, optimize: bool) -> None:
    check(CONVS[name], optimize=optimize)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank: int, group: int) -> None:
    check(transposed(rank, group))


def transposed(rank: int, group: int) -> OneLayer:
    attributes = {
        "group": group,
        "strides": (2,) * rank,
        "pads": (1,) * rank + (0,) * rank,
        "output_padding": (1,) * rank,
        "dilations": (2,) * rank,
    }
    weight = random_weight(4, 3, *[3] * rank)
    return OneLayer(
        "ConvTranspose",
        (2, 4, *[4] * rank),
        weight,
        random_bias(3 * group),
        attributes,
        params=random_params(3 * group),
    )


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("trans", [0, 1])
def test_gemm(trans: int, opset: int) -> None:
    weight = random_weight(*((5, 40) if trans else (40, 5)))
    params = random_params(5)
    check(OneLayer("Gemm", (3, 40), weight, random_bias(5), {"transB": trans}, params=params, opset=opset))


@pytest.mark.parametrize("shape", [(3, 40), (2, 3, 40), (40,)])
def test_matmul_with_and_without_its_bias(shape: tuple[int, ...]) -> None:
    check(OneLayer("MatMul", shape, random_weight(40, 6), random_bias(6)))
    check(OneLayer("MatMul", shape, random_weight(40, 6)))


@pytest.mark.parametrize("include", [0, 1])
def test_average_pools(include: int) -> None:
    attributes = {
        "kernel_shape": (3, 2),
        "pads": (1, 0, 1, 1),
        "count_include_pad": include,
        "strides": (2, 1),
    }
    check(OneLayer("AveragePool", (2, 3, 8, 8), attributes=attributes))


@pytest.mark.parametrize("opset", [7, 10, 11, 17, 21])
def test_every_opset(opset: int) -> None:
    layer = conv(2, (6, 3), pads=(1, 1, 1, 1))
    layer.opset = opset
    check(layer)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    group, ins, outs = (data.draw(st.integers(1, 3)) for _ in range(3))
    kernel, size = data.draw(st.integers(1, 4)), data.draw(st.integers(9, 12))
    weight = random_weight(group * outs, ins, kernel, kernel, seed=data.draw(st.integers(0, 99)))
    layer = OneLayer("Conv", (1, group * ins, size, size), weight, random_bias(group * outs))
    layer.attributes = {
        "group": group,
        "strides": tuple(data.draw(st.integers(1, 3)) for _ in range(2)),
        "dilations": tuple(data.draw(st.integers(1, 2)) for _ in range(2)),
        "pads": tuple(data.draw(st.integers(0, 2)) for _ in range(4)),
    }
    layer.quant = {"offset": float(data.draw(st.integers(-128, 127)))}
    check(layer)


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


@pytest.mark.parametrize("stored", ["INT8", "INT16", "INT4"])
def test_a_graph_may_return_integers(stored: str) -> None:
    graph = qir.Graph("ends_in_quant", {"": 13})
    x = graph.add_input("x", conv(1, (1, 1)).graph().inputs[0].type)
    given = {"scale": 2.0, "offset": 3.0, "dst_type": stored}
    graph.add_output(graph.add("AscendQuant", [x], name="q", attributes=given).output)
    feeds = {"x": np.linspace(-90, 90, 45, dtype=np.float32).reshape(5, 1, 9)}
    (expected,) = run_deploy(graph, feeds).values()
    (found,) = DeploySession(graph).run(["q"], feeds)
    assert found.dtype == (np.int16 if stored == "INT16" else np.int8)
    assert np.array_equal(found, expected)


# The manner of onnxruntime.InferenceSession.


def test_it_is_used_like_an_onnxruntime_session() -> None:
    layer = conv(2, (6, 3))
    session = qir.DeploySession(to_model(layer.graph()).SerializeToString())
    (fed,) = session.get_inputs()
    (made,) = session.get_outputs()
    assert (fed.name, fed.shape, fed.type) == ("x", ("N", 3, 9, 9), "tensor(float)")
    assert made.name == "layer.dequant"
    assert session.run(["layer.dequant"], layer.feeds())[0].shape == (2, 6, 7, 7)
    integers = session.run_integers(layer.feeds(), ["layer"])[1]
    assert integers["layer"].accumulator.dtype == np.int32
