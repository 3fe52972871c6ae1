"""Caffe nets through the front door: two files in, as good as their ONNX; with every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main as qir_command
from qir.cli.opt import main as qir_opt
from qir.frontends.onnx import to_model
from qir.ir.quants import quantized_layers
from qir.samples import sample_named

DATA = Path(__file__).parent / "data" / "caffe"
SAMPLE = sample_named("digits")
LAYERS = {
    "cnn": ["conv1", "conv2", "conv3", "pool1", "conv4", "conv5", "fc1", "fc2"],
    "seg": ["conv1", "conv2", "conv3", "conv4", "deconv1", "deconv2", "deconv3", "conv5"],
}


def files(kind: str) -> tuple[str, str]:
    return str(DATA / f"digits_{kind}.prototxt"), str(DATA / f"digits_{kind}.caffemodel")


def calibration() -> npt.NDArray[np.float32]:
    with np.load(SAMPLE.calibration) as data:
        return np.asarray(data["input"])


def float_output(kind: str, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = ort.InferenceSession(to_model(qir.load(files(kind))).SerializeToString())
    return np.asarray(session.run(None, {"data": x})[0])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    np.savez(path, data=calibration()[:32])
    return str(path)


@pytest.mark.parametrize("kind", ["cnn", "seg"])
def test_float_graph_against_opencv(kind: str) -> None:
    import cv2

    x = calibration()[:20]
    net = cv2.dnn.readNetFromCaffe(*files(kind))
    net.setInput(x)
    found = float_output(kind, x)
    np.testing.assert_allclose(found, net.forward(), atol=1e-4)


@pytest.mark.parametrize("kind", ["cnn", "seg"])
def test_every_layer_is_quantized_under_its_name_and_every_batch_norm_fused(kind: str) -> None:
    result = qir.quantize(files(kind), [{"data": calibration()}])
    assert [node.name for node in quantized_layers(result.graph)] == LAYERS[kind]
    assert not [node for node in result.graph.nodes if node.op in ("BatchNormalization", "Mul")]
    assert min(output.cosine for output in result.report.outputs) > 0.999


def test_pipeline_amct_fuses_batch_norm_into_convolutions() -> None:
    result = qir.quantize(files("cnn"), [{"data": calibration()[:16]}], pipeline="amct")
    assert "BatchNormalization" not in [node.op for node in result.graph.nodes]


def test_accuracy_of_the_fake_quant_graph(tmp_path: Path) -> None:
    prefix = tmp_path / "cnn"
    qir.quantize(files("cnn"), [{"data": calibration()}], output=prefix)
    with np.load(SAMPLE.test) as test:
        x, labels = test["input"], test["labels"]
    quantized = ort.InferenceSession(f"{prefix}_fake_quant_model.onnx").run(None, {"data": x})[0]
    plain = float_output("cnn", x)
    accuracies = [(scores.argmax(1) == labels).mean() for scores in (plain, quantized)]
    assert accuracies[0] > 0.98
    assert accuracies[1] > accuracies[0] - 0.005


def call(*arguments: str) -> Result:
    return CliRunner().invoke(qir_command, arguments)


def test_commands_take_prototxt_and_caffemodel(data: str, tmp_path: Path) -> None:
    cnn, prefix, stats = files("cnn"), str(tmp_path / "cnn"), str(tmp_path / "stats.npz")
    assert call("calibrate", *cnn, "--data", data, "-o", stats, "--quiet").exit_code == 0
    done = call("quantize", *cnn, "--stats", stats, "--data", data, "-o", prefix)
    assert done.exit_code == 0, done.output
    assert "8 of 8 layers run in integers" in done.output
    ranked = call("sensitivity", *cnn, "--stats", stats, "--data", data, "--samples", "1")
    assert "8 layers, 1 samples" in ranked.output
    config = json.loads(call("config", *cnn).output)
    assert set(LAYERS["cnn"]) <= set(config)
    assert call("run", "--data", data, *cnn, "-o", f"{prefix}.npz").exit_code == 0
    with np.load(f"{prefix}.npz") as outputs:
        assert outputs["prob"].shape == (32, 10)
    deploy = f"{prefix}_deploy_model.onnx"
    assert call("compare", *cnn, deploy, "--data", data, "--cosine", "0.99").exit_code == 0
    assert call("compare", deploy, *cnn, "--data", data, "--cosine", "0.99").exit_code == 0
    record = f"{prefix}_record.txt"
    again = call("convert", *cnn, "--record", record, "--pipeline", "default", "-o", f"{prefix}2", "--quiet")
    assert again.exit_code == 0, again.output
    assert Path(f"{prefix}2_deploy_model.onnx").read_bytes() == Path(deploy).read_bytes()


def test_search_takes_prototxt_and_caffemodel(data: str, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.npz"
    with np.load(SAMPLE.test) as test:
        np.savez(labelled, data=test["input"][:100], labels=test["labels"][:100])
    arguments = ["--data", data, "--evaluator", f"top1:{labelled}", "--max-drop", "0.02"]
    done = call("auto", *files("cnn"), *arguments, "-o", str(tmp_path / "cnn"), "--quiet")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "cnn_deploy_model.onnx").exists()


def test_qir_opt_takes_prototxt_and_caffemodel() -> None:
    done = CliRunner().invoke(qir_opt, [*files("cnn"), "-p", "infer-types,fuse-bn"])
    assert done.exit_code == 0, done.output
    assert 'Conv "conv4"' in done.output
    assert "BatchNormalization" not in done.output


def test_what_is_wrong_with_the_two_files_is_one_message(data: str, tmp_path: Path) -> None:
    prototxt, weights = files("cnn")
    rest = ("--data", data, "-o", str(tmp_path / "out"))
    for words, code, message in [
        ((prototxt,), 1, "give the caffemodel that belongs to the prototxt"),
        ((weights, prototxt), 2, "give the .prototxt of its net before it"),
        ((prototxt, weights, "x.onnx"), 2, "unexpected extra argument (x.onnx)"),
        ((prototxt, files("seg")[1]), 1, "digits_cnn.prototxt:8: layer 'conv1' (Convolution) needs a weight"),
        ((), 2, "Missing argument 'MODEL'"),
    ]:
        done = call("quantize", *words, *rest)
        assert (done.exit_code, message in done.output) == (code, True), done.output
    assert call("compare", prototxt, weights, "--data", data).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    weights = tmp_path / "net.qir"
    weights.write_bytes(Path(files("cnn")[1]).read_bytes())
    link = tmp_path / "net.caffemodel"
    link.symlink_to(weights)
    done = CliRunner().invoke(qir_opt, [files("cnn")[0], str(link), "-o", str(weights)])
    assert done.exit_code == 1
    assert "overwrit" in done.output
