"""amct_caffe: its numbers are the pipeline's, its layers Caffe's, and what is wrong is AMCT's error."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qir
import qir.compat.amct_caffe as amct
from qir.backends.ascend.record_reader import parse_record
from qir.backends.targets import ASCEND
from qir.compat.amct_caffe.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    BinarySearchStrategy,
    CosineSimilaritySensitivity,
)
from qir.compat.amct_caffe.functions import CaffeGraph
from qir.ir.errors import QirError

DATA = Path(__file__).parent.parent / "data" / "caffe"
BATCH = np.random.default_rng(1).random((4, 1, 16, 16), np.float32)
CNN, SEG = "digits_cnn", "digits_seg"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (CNN, SEG):
        for suffix in ("prototxt", "caffemodel"):
            shutil.copy(DATA / f"{name}.{suffix}", f"{name}.{suffix}")
    return tmp_path


def pair(name: str) -> tuple[str, str]:
    return f"{name}.prototxt", f"{name}.caffemodel"


def configure(
    name: str, skipped: Any = None, batch_num: int = 1, definition: str | None = None
) -> dict[str, Any]:
    if definition is not None:
        Path("quant.cfg").write_text(definition)
    file = None if definition is None else "quant.cfg"
    amct.create_quant_config("config.json", *pair(name), skipped, batch_num, config_defination=file)
    found: dict[str, Any] = json.loads(Path("config.json").read_text())
    return found


def calibrated(name: str) -> CaffeGraph:
    configure(name)
    graph = amct.init("config.json", *pair(name), "record.txt")
    amct.quantize_model(graph, "modified.prototxt", "modified.caffemodel")
    amct.Net("modified.prototxt", "modified.caffemodel").forward(data=BATCH)
    return graph


def test_the_numbers_are_the_pipelines() -> None:
    amct.save_model(calibrated(SEG), "Both", "out/seg")
    exact = ASCEND.pipelines["amct-caffe"].replace("weights=quantized", "weights=quantized exact=true")
    done = qir.quantize(pair(SEG), [{"data": BATCH}], pipeline=exact, output="same", proof_samples=0)
    assert done.paths is not None
    expected = parse_record(done.paths.record.read_text())
    assert "deconv1" in expected
    assert parse_record(Path("record.txt").read_text()) == expected
    models = ("out/seg_fake_quant_model.onnx", str(done.paths.fake_quant_model))
    run, same = (amct.Net(model).forward(data=BATCH)["conv5"] for model in models)
    np.testing.assert_array_equal(run, same)


def test_deconvolutions_absorb_batchnorm_and_scale() -> None:
    amct.save_model(calibrated(SEG), "Deploy", "out/seg")
    ops = {node.op for node in qir.load("out/seg_deploy_model.onnx").nodes}
    assert "ConvTranspose" in ops
    assert "BatchNormalization" not in ops
    (info,) = json.loads(Path("out/seg_quant.json").read_text())["graph"]
    names = {op["name"]: op["attr"][0]["value"]["list"].get("s", []) for op in info["op"]}
    assert names["deconv1"] == ["deconv1", "bn5", "scale5"]


@pytest.mark.parametrize(("save_type", "model"), [("Fakequant", "fake_quant"), ("Deploy", "deploy")])
def test_one_model_only(save_type: str, model: str) -> None:
    amct.save_model(calibrated(CNN), save_type, "out/")
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        [f"{model}_model.onnx", "quant.json"]
    )


def test_convert_model_makes_the_same_models() -> None:
    amct.save_model(calibrated(SEG), "Both", "out/seg")
    amct.convert_model(*pair(SEG), "record.txt", "again/seg")
    names = sorted(path.name for path in Path("out").iterdir())
    assert sorted(path.name for path in Path("again").iterdir()) == names
    models = (f"{folder}/seg_fake_quant_model.onnx" for folder in ("out", "again"))
    run, same = (amct.Net(model).forward(data=BATCH)["conv5"] for model in models)
    np.testing.assert_array_equal(run, same)


def test_types_of_a_definition_are_caffes() -> None:
    config = configure(
        CNN,
        definition="""
            batch_num: 2  skip_layer_types: "Pooling"
            override_layer_types { layer_type: "InnerProduct" calibration_config { hfmg_quantize { } } }
        """,
    )
    assert config["batch_num"] == 2
    quantized = {n for n, v in config.items() if isinstance(v, dict) and v["quant_enable"]}
    assert quantized == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"}
    algorithms = {n: config[n]["activation_quant_params"]["act_algo"] for n in ("fc1", "conv1")}
    assert algorithms == {"fc1": "hfmg", "conv1": "ifmr"}


def test_net_runs_caffe_files() -> None:
    net = amct.Net(*pair(CNN))
    assert (net.inputs, net.outputs) == (("data",), ("prob",))
    found = net.forward(data=BATCH.astype(np.float64))["prob"]
    expected = amct.Net(*pair(CNN)).forward(data=BATCH)["prob"]
    assert found.shape == (4, 10)
    np.testing.assert_array_equal(found, expected)


def test_modes_are_accepted(caplog: pytest.LogCaptureFixture) -> None:
    amct.set_cpu_mode()
    with caplog.at_level(logging.INFO):
        amct.set_gpu_mode()
        assert "weights are calibrated by the CPU" in caplog.text
        amct.set_mode_gpu()
        assert "nets run on the CPU" in caplog.text
    amct.set_mode_cpu()
    amct.set_device(0)
    assert amct.Net(*pair(CNN), amct.TEST).outputs == ("prob",)


def new_graph(config: str = "config.json") -> CaffeGraph:
    return amct.init(config, *pair(CNN), "record.txt")


def uncalibrated() -> None:
    configure(CNN)
    graph = amct.init("config.json", *pair(CNN), "record.txt")
    amct.quantize_model(graph, "modified.prototxt", "modified.caffemodel")
    amct.save_model(graph, "Both", "out/net")


def unquantized() -> None:
    configure(CNN)
    amct.save_model(amct.init("config.json", *pair(CNN), "record.txt"), "Both", "out/net")


def over_the_net() -> None:
    configure(CNN)
    graph = amct.init("config.json", *pair(CNN), "record.txt")
    amct.quantize_model(graph, "digits_cnn.prototxt", "modified.caffemodel")


def balanced() -> None:
    configure(CNN, definition="common_config { arq_quantize { } dmq_balancer { } }")
    new_graph()


def deploy_net() -> None:
    amct.save_model(calibrated(CNN), "Deploy", "out/net")
    amct.Net("out/net_deploy_model.onnx")


def search(evaluator: object) -> None:
    configure(CNN)
    amct.accuracy_based_auto_calibration(*pair(CNN), evaluator, "config.json", "record.txt", "out/net")  # type: ignore[arg-type]


class Empty(AutoCalibrationEvaluatorBase):
    pass


class Uncalibrating(AutoCalibrationEvaluatorBase):
    def evaluate(self, model_file: str, weights_file: str) -> object:
        return bool(amct.Net(model_file, weights_file).outputs)

    def metric_eval(self, original_metric: object, new_metric: object) -> tuple[bool, float]:
        return True, 0.0

    def calibration(self, model_file: str, weights_file: str) -> None:
        assert weights_file == model_file


class Raising(Uncalibrating):
    def calibration(self, model_file: str, weights_file: str) -> None:
        raise KeyError("data")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: configure(CNN, ["cnv1"]), ValueError, "Layer cnv1 does not exist in the graph."),
        (lambda: configure(CNN, ["prob"]), ValueError, "Layer prob does not support quantization."),
        (lambda: amct.Net(*pair(CNN), 0), ValueError, "phase must be TEST"),
        (lambda: configure(CNN, "conv1"), TypeError, "argument 'skip_layers' must be a list"),
        (lambda: configure(CNN, None, 0), ValueError, "The batch_num must be greater than zero."),
        (
            lambda: configure(CNN, definition='skip_layer_types: "Convolutions"'),
            ValueError,
            "skip_layer_types: no layers of type 'Convolutions' are quantized",
        ),
        (
            lambda: amct.create_quant_config("c.json", "digits_cnn.prototxt", "no.caffemodel"),
            RuntimeError,
            "'no.caffemodel' does not exist",
        ),
        (
            lambda: amct.create_quant_config("c.json", "digits_cnn.prototxt", "digits_seg.caffemodel"),
            RuntimeError,
            "needs a weight of shape",
        ),
        (
            lambda: amct.create_quant_config("digits_cnn.caffemodel", *pair(CNN)),
            ValueError,
            "is read from already",
        ),
        (lambda: new_graph("no.json"), RuntimeError, "no.json"),
        (lambda: amct.quantize_model(None, "m", "w"), TypeError, "argument 'graph'"),  # type: ignore[arg-type]
        (uncalibrated, RuntimeError, "cannot find scale_d of layer conv1 in record_file"),
        (unquantized, RuntimeError, "call quantize_model"),
        (over_the_net, ValueError, "is read from already"),
        (balanced, RuntimeError, "dmq_balancer_param"),
        (deploy_net, RuntimeError, "is a deploy model"),
        (
            lambda: amct.save_model(calibrated(CNN), "both", "out/net"),
            ValueError,
            "save_type must be one of Both, Fakequant, Deploy, not 'both'",
        ),
        (lambda: amct.Net("no.onnx"), RuntimeError, "no.onnx"),
        (lambda: amct.Net(*pair(CNN)).forward(image=BATCH), RuntimeError, "the model has no input 'image'"),
        (lambda: amct.Net(*pair(CNN)).forward(), RuntimeError, "no data for the model's input 'data'"),
        (lambda: amct.Net(*pair(CNN)).forward(data="x"), ValueError, "input 'data' is no array of numbers"),
        (
            lambda: search(object()),
            RuntimeError,
            "not inherited from base class AutoCalibrationEvaluatorBase",
        ),
        (lambda: search(Empty()), RuntimeError, "evaluator Empty has no evaluate method"),
        (lambda: search(Raising()), RuntimeError, "calibration of evaluator Raising raised KeyError: 'data'"),
        (lambda: search(Uncalibrating()), RuntimeError, "cannot find scale_d of layer conv1"),
    ],
)
def test_what_does_not_fit_is_amcts_error(
    call: Callable[[], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert isinstance(caught.value, QirError)


def test_evaluators_get_what_amct_gives_where_it_can() -> None:
    configure(CNN)
    seen: list[tuple[str, str]] = []

    class Judge(Uncalibrating):
        def calibration(self, model_file: str, weights_file: str) -> None:
            seen.append((Path(model_file).name, Path(weights_file).name))
            amct.Net(model_file, weights_file).forward(data=BATCH)

        def evaluate(self, model_file: str, weights_file: str) -> object:
            seen.append((Path(model_file).suffix, Path(weights_file).name))
            return super().evaluate(model_file, weights_file)

    amct.accuracy_based_auto_calibration(
        *pair(CNN), Judge(), "config.json", "record.txt", "out/net",
        BinarySearchStrategy(), CosineSimilaritySensitivity(),
    )  # fmt: skip
    assert seen == [
        (".prototxt", "digits_cnn.caffemodel"), ("modified_model.onnx", "modified_model.onnx"),
        (".onnx", "net_fake_quant_model.onnx"),
    ]  # fmt: skip
