"""DeploySession against AMCT's own models, and layer by layer against the integer oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from deploy_graphs import OneLayer, check, conv, random_bias, random_params, random_weight, transposed
from deploy_oracle import run_deploy
from hypothesis import given, settings
from hypothesis import strategies as st

import qir
from qir.frontends.onnx import read_model, to_model
from qir.runtime.deploy import DeploySession, fake_quant_values
from qir.runtime.session import Session

GOLDEN = Path(__file__).parent.parent / "data" / "amct"
NETS = ("cnn_bn", "resid", "decon", "mlp", "vol", "default_sym", "hfmg", "dmq", "fp16", "int4")


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


# The manner of onnxruntime.InferenceSession.


def test_it_is_used_like_an_onnxruntime_session() -> None:
    layer = conv(2, (6, 3))
    session = qir.DeploySession(to_model(layer.graph()).SerializeToString())
    (fed,) = session.get_inputs()
    (made,) = session.get_outputs()
    assert (fed.name, fed.shape, fed.type) == ("x", ["N", 3, 9, 9], "tensor(float)")
    assert made.name == "layer.dequant"
    assert session.run(["layer.dequant"], layer.feeds())[0].shape == (2, 6, 7, 7)
    integers = session.run_integers(layer.feeds(), ["layer"])[1]
    assert integers["layer"].accumulator.dtype == np.int32
