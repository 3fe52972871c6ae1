"""The job that turns a QDQ model of another quantizer into both graphs, through the Python front door."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnxruntime import quantization

import qir
from qir.samples import sample_named

SAMPLE = sample_named("digits")
Floats = npt.NDArray[np.float32]


class Images:
    """ONNX Runtime's calibration reader over the packaged calibration images."""

    def __init__(self) -> None:
        with np.load(SAMPLE.calibration) as data:
            self._feeds = iter([{name: data[name] for name in data.files}])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


@pytest.fixture(scope="module", params=["QInt8", "QUInt8"])
def qdq_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits classifier as ONNX Runtime quantizes it per channel, with activations of either sign."""
    path = tmp_path_factory.mktemp("qdq") / "qdq.onnx"
    quantization.quantize_static(
        shutil.copy(SAMPLE.model, path.parent),  # it writes beside the model, as other processes might
        path,
        Images(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=getattr(quantization.QuantType, request.param),
        weight_type=quantization.QuantType.QInt8,
    )
    return path


def run(graph: qir.Graph) -> Floats:
    from qir.runtime.session import Session

    with np.load(SAMPLE.test) as data:
        feeds = {name: data[name] for name in data.files if name != "labels"}
    outputs = Session(graph, optimize=False).run(feeds)
    return next(iter(outputs.values()))


def qdq_form(model: Path, folder: Path) -> qir.Graph:
    """The converted model in the form in which it came."""
    return qir.load(qir.convert_qdq(model, folder / "again", form="qdq").paths.fake_quant_model)


def labels() -> npt.NDArray[np.int64]:
    with np.load(SAMPLE.test) as data:
        found: npt.NDArray[np.int64] = data["labels"]
    return found


def test_the_accuracy_is_that_of_the_model(qdq_model: Path, tmp_path: Path) -> None:
    before = qdq_model.read_bytes()
    converted = qir.convert_qdq(qdq_model, tmp_path / "out")
    assert qdq_model.read_bytes() == before
    expected = run(qir.load(qdq_model))
    found = run(qir.load(converted.paths.fake_quant_model))
    accuracy = [float(np.mean(x.argmax(1) == labels())) for x in (expected, found)]
    assert abs(accuracy[0] - accuracy[1]) <= 0.003
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.99
    assert np.array_equal(expected, run(qdq_form(qdq_model, tmp_path)))
    quantized = [layer.name for layer in converted.layers if layer.is_quantized]
    floats = {layer.op: layer.reason for layer in converted.layers if not layer.is_quantized}
    assert len(quantized) >= 2
    assert "one scale per channel" in floats["Gemm"]
    assert converted.kept >= 8  # the BatchNormalizations, Relus and Gemms between the convolutions
    assert not converted.removed


def test_pairs_between_float_ops_may_go(qdq_model: Path, tmp_path: Path) -> None:
    converted = qir.convert_qdq(qdq_model, tmp_path / "out", between_floats="drop")
    assert not converted.kept
    assert any("output" in sentence for sentence in converted.removed)


def test_the_deploy_graph_computes_what_the_fake_quant_graph_does(qdq_model: Path, tmp_path: Path) -> None:
    converted = qir.convert_qdq(qdq_model, tmp_path / "out", form="ascend")
    with np.load(SAMPLE.test) as data:
        feeds = {name: data[name][:20] for name in data.files if name != "labels"}
    (deployed,) = qir.DeploySession(converted.paths.deploy_model).run(None, feeds)
    fake = run(qir.load(converted.paths.fake_quant_model))[:20]
    assert np.abs(deployed - fake).max() <= 1e-6 * np.abs(fake).max()


def test_quantize_names_the_command_that_converts(qdq_model: Path, tmp_path: Path) -> None:
    with pytest.raises(qir.QirError, match=r"already quantized.*qir convert"):
        qir.quantize(qdq_model, SAMPLE.calibration, output=tmp_path / "out")


def test_a_float_model_is_not_converted(tmp_path: Path) -> None:
    with pytest.raises(qir.QirError, match=r"no QuantizeLinear.*qir quantize"):
        qir.convert_qdq(SAMPLE.model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_model_without_any_layer_for_integers_says_why(tmp_path: Path) -> None:
    graph = qir.parse(
        """
        graph @net(%x: f32[2,2]) {
          opsets {onnx=17}
          %s = const [0.5,0.25] : f32[2]
          %t = const 0.5 : f32[]
          %w = const [1,2,3,4] : i8[2,2]
          %q = QuantizeLinear(%x, %t) : u8[2,2]
          %d = DequantizeLinear(%q, %t) : f32[2,2]
          %v = DequantizeLinear(%w, %s) : f32[2,2]
          %y = MatMul "head"(%d, %v) : f32[2,2]
          return %y
        }
        """
    )
    with pytest.raises(qir.QirError, match=r"'head' .MatMul.: its weight has one scale per channel"):
        qir.convert_qdq(graph, tmp_path / "out")


def test_a_scale_that_is_no_number_is_named(qdq_model: Path, tmp_path: Path) -> None:
    model = onnx.load(qdq_model)
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear")
    held = next(t for t in model.graph.initializer if t.name == node.input[1])
    broken = onnx.numpy_helper.to_array(held) * np.float32(np.nan)
    held.CopyFrom(onnx.numpy_helper.from_array(broken, held.name))
    with pytest.raises(qir.QirError, match=r"DequantizeLinear '.*': the scale.* is nan"):
        qir.convert_qdq(model.SerializeToString(), tmp_path / "out")
