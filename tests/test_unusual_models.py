"""Models of forms that users bring and that are easily forgotten, through the whole job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import qir
from qir.debug import get_sensitivity_of_nodes
from qir.running import run_model, save_outputs

FLOAT = TensorProto.FLOAT
RNG = np.random.default_rng(7)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(sum(map(ord, name))).normal(scale=0.3, size=shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def model(
    nodes: list[onnx.NodeProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
    shape: tuple[int | str, ...],
    domains: tuple[str, ...] = (),
) -> bytes:
    inputs = [helper.make_tensor_value_info("x", FLOAT, shape)]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 13), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def samples(*shape: int, count: int = 6) -> list[dict[str, np.ndarray]]:
    return [{"x": RNG.normal(size=shape).astype(np.float32)} for _ in range(count)]


def run(path: Path | bytes, feed: dict[str, np.ndarray]) -> list[object]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = path if isinstance(path, bytes) else str(path)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feed)


def last_state() -> bytes:
    """A classifier by the last state of an LSTM: nobody reads its sequence of outputs."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["all", "last", "cell"], name="lstm", hidden_size=5),
        helper.make_node("Squeeze", ["last", "axis"], ["state"]),
        helper.make_node("Gemm", ["state", "fc"], ["y"], name="head"),
    ]
    axis = numpy_helper.from_array(np.array([0]), "axis")
    constants = [weight("w", 1, 20, 3), weight("r", 1, 20, 5), axis, weight("fc", 5, 4)]
    return model(nodes, [helper.make_tensor_value_info("y", FLOAT, [2, 4])], constants, (7, 2, 3))


@pytest.mark.parametrize("target", ["ascend", "qdq"])
def test_a_recurrent_layer_whose_outputs_nobody_reads(target: str, tmp_path: Path) -> None:
    data = samples(7, 2, 3)
    result = qir.quantize(last_state(), data, output=tmp_path / "m", target=target)
    assert {layer.name: layer.precision for layer in result.report.layers} == {
        "lstm": "float32",
        "head": "int8",
    }
    assert result.paths is not None
    (expected,), (found,) = run(last_state(), data[0]), run(result.paths.fake_quant_model, data[0])
    np.testing.assert_allclose(found, expected, atol=0.02)


def sequence() -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], name="fc"),
        helper.make_node("SplitToSequence", ["scores"], ["parts"], axis=1),
    ]
    return model(
        nodes, [helper.make_tensor_sequence_value_info("parts", FLOAT, None)], [weight("w", 6, 3)], ("N", 6)
    )


def maps() -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], name="fc"),
        helper.make_node(
            "ZipMap", ["scores"], ["z"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"]
        ),
    ]
    row = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, []))
    output = helper.make_value_info("z", helper.make_sequence_type_proto(row))
    return model(nodes, [output], [weight("w", 6, 3)], ("N", 6), ("ai.onnx.ml",))


@pytest.mark.parametrize("build", [sequence, maps])
def test_outputs_that_are_no_tensors_are_compared_by_what_they_hold(build, tmp_path: Path) -> None:
    data = samples(1, 6)
    result = qir.quantize(build(), data, output=tmp_path / "m")
    (output,) = result.report.outputs
    assert output.count == 6 * 3
    assert 30 < output.sqnr < 70
    assert result.report.proof is not None
    scores = get_sensitivity_of_nodes(build(), "cosine-similarity", data, plot=False)
    assert 0.99 < scores["fc"]["cosine-similarity"] < 1
    compared = qir.compare(build(), result.paths.fake_quant_model, data)
    assert [item.count for item in compared.outputs] == [18]


def test_words_are_outputs_like_others(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], name="fc"),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "best"], ["word"]),
    ]
    names = helper.make_tensor("names", TensorProto.STRING, [3], [b"cat", b"a dog", b""])
    output = helper.make_tensor_value_info("word", TensorProto.STRING, ["N"])
    source = model(nodes, [output], [weight("w", 6, 3), names], ("N", 6))
    data = samples(1, 6)
    arrays = save_outputs(run_model(source, data), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as written:
        assert written["word"].tolist() == arrays["word"].tolist()
    assert arrays["word"].tolist() == [run(source, feed)[0][0] for feed in data]


def half() -> bytes:
    """A model in float16, which ONNX Runtime's QuantizeLinear does not take."""
    constants = [weight("w", 4, 3, 3, 3), weight("b", 4), weight("fc", 4, 5)]
    constants = [
        numpy_helper.from_array(numpy_helper.to_array(each).astype(np.float16), each.name)
        for each in constants
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        helper.make_node("GlobalMaxPool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["y"], name="head"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["N", 3, 6, 6])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["N", 5])]
    graph = helper.make_graph(nodes, "half", inputs, outputs, constants)
    opset = helper.make_opsetid("", 13)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def test_layers_of_float16_models_are_compared_and_ranked(tmp_path: Path) -> None:
    data = [{"x": feed["x"].astype(np.float16)} for feed in samples(1, 3, 6, 6)]
    result = qir.quantize(half(), data, output=tmp_path / "m", compare_layers=True)
    assert {layer.precision for layer in result.report.layers if layer.name in ("conv", "head")} == {"int8"}
    scores = get_sensitivity_of_nodes(half(), "cosine-similarity", data, plot=False)
    assert scores.keys() == {"conv", "head"}
    assert all(0.99 < score["cosine-similarity"] < 1 for score in scores.values())


def test_float16_models_are_tuned(tmp_path: Path) -> None:
    """Layer `head` must not be quantized; float16 is what layers are there, and no rung of its own."""
    data = [{"x": feed["x"].astype(np.float16)} for feed in samples(1, 3, 6, 6)]

    def metric(path: Path) -> float:
        return float(any(n.op_type == "Gemm" and n.input[0] == "f" for n in onnx.load(path).graph.node))

    result = qir.tune(half(), data, metric, output=tmp_path / "m", max_drop=0.5)
    assert result.reached
    assert result.rungs["head"] == "float32"
    assert [phase.note for phase in result.phases if phase.name == "all float16"] == [
        "no layer has it on this target, only int16"
    ]
