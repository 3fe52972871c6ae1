"""amct_onnx when something is wrong: AMCT's error types and sentences; and what must not go wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import qir
import qir.compat.amct_onnx as amct
from qir.backends.ascend.record_reader import parse_record
from qir.compat.amct_onnx.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    CosineSimilaritySensitivity,
    MseSensitivity,
    SensitivityBase,
)
from qir.compat.common.calibration_runs import CalibrationRuns
from qir.ir.errors import QirError
from qir.runtime.calibration_ops import MissingExtra, calibration_options

# Three layers; the first two read one tensor.
NET = """
graph @net(%x: f32[N,2,4,4]) {
  opsets {onnx=13}
  %w = const [1.0,-2.0,3.0,4.0] : f32[2,2,1,1]
  %b = const [1.0,2.0] : f32[2]
  %m = const [1.0,2.0,-3.0,4.0] : f32[2,2]
  %a = Conv "conv"(%x, %w, %b) {kernel_shape=[1,1]} : f32[N,2,4,4]
  %c = Conv "twin"(%x, %w, %b) {kernel_shape=[1,1]} : f32[N,2,4,4]
  %s = Add "sum"(%a, %c) : f32[N,2,4,4]
  %p = GlobalAveragePool "pool"(%s) : f32[N,2,1,1]
  %f = Flatten "flatten"(%p) : f32[N,2]
  %g = Gemm "fc"(%f, %m, %b) : f32[N,2]
  return %g
}
"""
BATCH = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    qir.save(qir.parse(NET), "net.onnx")
    return tmp_path


def prepare(batch_num: int = 2) -> None:
    amct.create_quant_config("config.json", "net.onnx", batch_num=batch_num)
    amct.quantize_model("config.json", "net.onnx", "modified.onnx", "record.txt")


def run(times: int, batch: Any = BATCH, modified: str = "modified.onnx") -> None:
    session = ort.InferenceSession(modified, amct.AMCT_SO)
    for i in range(times):
        session.run(None, {"x": batch * np.float32(i + 1)})


def save() -> None:
    amct.save_model("modified.onnx", "record.txt", "out/net")


@pytest.mark.parametrize(
    "call",
    [
        lambda: amct.create_quant_config(1, "net.onnx"),
        lambda: amct.create_quant_config("config.json", "net.onnx", skip_layers="conv"),
        lambda: amct.create_quant_config("config.json", "net.onnx", batch_num=True),
        lambda: amct.create_quant_config("config.json", "net.onnx", activation_offset=1),
        lambda: amct.quantize_model("config.json", "net.onnx", "modified.onnx"),
        lambda: amct.quantize_model("config.json", "net.onnx", record_file="record.txt"),
        lambda: amct.quantize_model("c", "net.onnx", "m", "r", modfied_onnx_file="m2"),
        lambda: amct.save_model("modified.onnx", "record.txt", None),
        lambda: amct.convert_qat_model("net.onnx", Path("out/net")),
        lambda: amct.accuracy_based_auto_calibration("net.onnx", None, 1, "record.txt", "out/net"),
    ],
)
def test_arguments_of_a_wrong_type_are_type_errors(call: Callable[[], None]) -> None:
    with pytest.raises(TypeError, match="argument") as caught:
        call()
    assert isinstance(caught.value, QirError)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: amct.create_quant_config("config.json", "net.onnx", ["cnv"]),
            ValueError,
            "Layer cnv does not exist in the graph.",
        ),
        (
            lambda: amct.create_quant_config("config.json", "net.onnx", ["flatten"]),
            ValueError,
            "Layer flatten does not support quantization.",
        ),
        (
            lambda: amct.create_quant_config("config.json", "net.onnx", ["conv", "twin", "fc", "pool"]),
            ValueError,
            "Layer pool does not support quantization.",
        ),
        (
            lambda: amct.create_quant_config("config.json", "net.onnx", ["conv", "twin", "fc"]),
            ValueError,
            "Except skip_layers, no layer needs to quantize.",
        ),
        (
            lambda: amct.create_quant_config("config.json", "net.onnx", batch_num=0),
            ValueError,
            "The batch_num must be greater than zero.",
        ),
        (
            lambda: amct.create_quant_config("net.onnx", "net.onnx"),
            ValueError,
            "'net.onnx' is read from already",
        ),
        (lambda: amct.create_quant_config("config.json", "no.onnx"), RuntimeError, "does not exist"),
        (lambda: amct.quantize_model("no.json", "net.onnx", "m.onnx", "r.txt"), RuntimeError, "no.json"),
        (lambda: amct.save_model("m.onnx", "none.txt", "out/net"), RuntimeError, "record_file 'none.txt'"),
        (lambda: amct.convert_qat_model("net.onnx", "out/net"), RuntimeError, "QuantizeLinear"),
        (
            lambda: amct.quantize_preprocess("config.json", "net.onnx", "m.onnx", "r.txt"),
            RuntimeError,
            "config.json",
        ),
    ],
)
def test_what_does_not_fit_is_amcts_error(
    call: Callable[[], None], kind: type[Exception], message: str, folder: Path
) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=message.replace(".", r"\.")) as caught:
        call()
    assert isinstance(caught.value, QirError)
    assert [path for path in sorted(folder.iterdir()) if path.is_file()] == before


def test_nothing_to_quantize() -> None:
    qir.save(
        qir.parse("graph @g(%x: f32[2]) {\n  opsets {onnx=13}\n  %y = Relu(%x) : f32[2]\n  return %y\n}"),
        "r.onnx",
    )
    with pytest.raises(ValueError, match=r"No layer support quantization in the graph\."):
        amct.create_quant_config("config.json", "r.onnx")


def test_empty_record() -> None:
    prepare()
    Path("record.txt").write_text("")
    with pytest.raises(RuntimeError, match=r"^record_file is empty, no layers to be quantized\."):
        save()


def test_too_few_batches() -> None:
    prepare(batch_num=3)
    run(2)
    sentence = "^cannot find scale_d of layer conv in record_file, please check data calibration process!"
    with pytest.raises(RuntimeError, match=sentence):
        save()
    assert not Path("out/net_deploy_model.onnx").exists()


def test_the_record_is_written_by_the_last_batch_and_never_again() -> None:
    prepare()
    first = Path("record.txt").read_text()
    assert "scale_w" in first
    assert "scale_d" not in first
    run(1)
    assert Path("record.txt").read_text() == first
    run(1)  # another session goes on with the same calibration
    done = Path("record.txt").read_text()
    records = parse_record(done)
    assert list(records) == ["conv", "twin", "fc"]
    assert records["conv"].scale_d == records["twin"].scale_d
    run(3, 100 * BATCH)
    assert Path("record.txt").read_text() == done
    save()
    prepare()  # the same files anew: calibration starts from the beginning
    run(2)
    assert Path("record.txt").read_text() != done
    assert Path("record.txt").read_text().count("scale_d") == 3


def test_calibrations_in_turns_do_not_mix() -> None:
    prepare()
    run(2)
    expected = Path("record.txt").read_text()
    prepare()
    amct.quantize_model("config.json", "net.onnx", "other.onnx", "other.txt")
    ours = ort.InferenceSession("modified.onnx", amct.AMCT_SO)
    other = ort.InferenceSession("other.onnx", amct.AMCT_SO)
    for i in range(2):
        ours.run(None, {"x": BATCH * np.float32(i + 1)})
        other.run(None, {"x": BATCH * np.float32(7)})
    assert Path("record.txt").read_text() == expected
    assert Path("other.txt").read_text() != expected


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "The activation to be quantized has invalid value inf or nan!"), (1e9, "not within")],
)
def test_unusable_data_end_the_run_and_name_the_layer(value: float, message: str) -> None:
    prepare(batch_num=1)
    with pytest.raises(Exception, match=r"\[IFMR\]: Do layer conv, twin data calibration failed!"):
        run(1, np.full_like(BATCH, value))
    with pytest.raises(RuntimeError, match=message):
        save()


def test_a_record_of_another_model() -> None:
    prepare(batch_num=1)
    run(1)
    text = Path("record.txt").read_text()
    Path("record.txt").write_text(text.replace('"twin"', '"spare"'))
    with pytest.raises(RuntimeError, match=r"find spare failure in modified\.onnx\. Please match"):
        save()
    Path("record.txt").write_text(text.replace("offset_d: ", "offset_d: 9", 1))
    with pytest.raises(ValueError, match=r"offset_d's value should be in \[-128, 127\]"):
        save()


def test_the_record_file_is_gone() -> None:
    prepare(batch_num=1)
    Path("record.txt").unlink()
    with pytest.raises(Exception, match="data calibration failed"):
        run(1)


def test_memory_is_bounded_by_histograms(caplog: pytest.LogCaptureFixture) -> None:
    kept = {}
    for limit in (1 << 20, 0):
        prepare(batch_num=1)
        kept[limit] = run_observed(CalibrationRuns(limit))
    assert "become a histogram" in caplog.text
    for exact, binned in zip(kept[1 << 20].values(), kept[0].values(), strict=True):
        assert binned.scale_d == pytest.approx(exact.scale_d, rel=0.02)


def run_observed(observer: CalibrationRuns) -> dict[str, Any]:
    graph = qir.load("modified.onnx")
    for node in graph.nodes:
        if node.op == "IFMR":
            attributes = {k: v for k, v in node.attributes.items() if isinstance(v, (str, int))}
            values = np.random.default_rng(2).normal(size=40_000).astype(np.float32)
            observer.range(attributes, values)
    return dict(parse_record(Path("record.txt").read_text()))


def test_without_the_package_the_command_to_install_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)
    with pytest.raises(MissingExtra, match=r"pip install 'qir\[amct\]'") as caught:
        calibration_options(CalibrationRuns())
    assert isinstance(caught.value, ImportError)


def test_names_for_unnamed_nodes() -> None:
    import onnx

    model = onnx.load("net.onnx")
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    onnx.save(model, "unnamed.onnx")
    amct.create_quant_config("config.json", "unnamed.onnx", updated_model="named.onnx")
    names = [node.name for node in onnx.load("named.onnx").graph.node]
    assert names == ["same", "same_1", "Add_2", "GlobalAveragePool_3", "Flatten_4", "Gemm_5"]
    amct.quantize_model("config.json", "named.onnx", "modified.onnx", "record.txt")
    run(1)
    assert list(parse_record(Path("record.txt").read_text())) == ["same", "same_1", "Gemm_5"]


class Judge(AutoCalibrationEvaluatorBase):
    def __init__(self, batches: int = 1, satisfied: bool = True, metric: object = 1.0) -> None:
        self.batches, self.satisfied, self.metric = batches, satisfied, metric

    def calibration(self, model_file: str) -> None:
        run(self.batches, modified=model_file)

    def evaluate(self, model_file: str) -> object:
        if isinstance(self.metric, Exception):
            raise self.metric
        return self.metric

    def metric_eval(self, original_metric: Any, new_metric: Any) -> tuple[bool, float]:
        return self.satisfied, 0.0


@pytest.mark.parametrize(
    ("evaluator", "options", "kind", "message"),
    [
        (object(), {}, RuntimeError, "the model evaluator is not inherited from base class AutoCal"),
        (Judge(), {"strategy": object()}, RuntimeError, "strategy is not inherited from base class"),
        (Judge(), {"sensitivity": object()}, RuntimeError, "sensitivity is not inherited from base class"),
        (Judge(), {"sensitivity": "Cosine"}, ValueError, "did you mean 'CosineSimilarity'"),
        (Judge(satisfied=False), {}, ValueError, "^Compare between original_accuracy and original_accuracy"),
        (Judge(metric=None), {}, RuntimeError, "returned None"),
        (Judge(metric=float("nan")), {}, RuntimeError, "not a number"),
        (Judge(metric=OSError("disk")), {}, RuntimeError, "raised OSError: disk"),
        (Judge(batches=0), {}, RuntimeError, "cannot find scale_d of layer conv in record_file"),
        (AutoCalibrationEvaluatorBase(), {}, RuntimeError, "has no evaluate method"),
    ],
)
def test_searches_that_cannot_be(
    evaluator: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    amct.create_quant_config("config.json", "net.onnx")
    with pytest.raises(kind, match=message) as caught:
        amct.accuracy_based_auto_calibration(
            "net.onnx", evaluator, "config.json", "record.txt", "out/net", **options
        )
    assert isinstance(caught.value, QirError)
    assert not list(Path().rglob("*_model.onnx"))
    assert not list(Path("out").glob(".*"))


def test_an_evaluator_may_have_methods_and_metrics_of_its_own(folder: Path) -> None:
    class Metric:
        pass

    class Own(Judge):
        modules = fingerprint = prepare = None  # names that qir's own evaluators use

        def evaluate(self, model_file: str) -> object:
            assert Path(model_file).is_absolute()
            elsewhere = folder / "elsewhere"
            elsewhere.mkdir(exist_ok=True)
            os.chdir(elsewhere)
            return Metric()

    amct.create_quant_config("config.json", "net.onnx")
    amct.accuracy_based_auto_calibration("net.onnx", Own(), "config.json", "record.txt", "out/")
    assert (folder / "out/deploy_model.onnx").exists()
    assert (folder / "amct_log/accuracy_based_auto_calibration_record.json").exists()
    assert list(parse_record((folder / "record.txt").read_text())) == ["conv", "twin", "fc"]
    assert not any((folder / "elsewhere").iterdir())


def test_the_model_is_never_overwritten() -> None:
    amct.create_quant_config("config.json", "net.onnx")
    qir.save(qir.load("net.onnx"), "net_deploy_model.onnx")
    with pytest.raises(ValueError, match="read from already"):
        amct.accuracy_based_auto_calibration(
            "net_deploy_model.onnx", Judge(), "config.json", "record.txt", "net"
        )


def test_a_sensitivity_of_the_user() -> None:
    class Constant(SensitivityBase):
        def compare(self, data: Any, other: Any) -> float:
            assert data.shape == other.shape
            return float(data.size)

    amct.create_quant_config("config.json", "net.onnx")
    amct.accuracy_based_auto_calibration(
        "net.onnx", Judge(), "config.json", "record.txt", "out/net", sensitivity=Constant()
    )
    text = Path("out/accuracy_based_auto_calibration_ranking_information.json").read_text()
    assert "".join(text.split()) == '[["fc",6.0],["conv",96.0],["twin",96.0]]'
    assert sorted(path.name for path in Path("out").iterdir())[2:] == [
        "net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json"
    ]  # fmt: skip


def test_sensitivities_are_amcts() -> None:
    zero, one = np.zeros(4, np.float32), np.ones(4, np.float32)
    cosine = CosineSimilaritySensitivity()
    assert cosine.compare(zero, one) == 1.0
    assert cosine.compare(one, zero) == 0.0
    assert cosine.compare(one, -one) == pytest.approx(0.0)
    assert cosine.compare(np.float32([1, 0]), np.float32([0, 1])) == 0.5
    assert MseSensitivity().compare(one, np.float32([1, 1, 1, 5])) == 1.0
    assert MseSensitivity(do_normalization=True).compare(np.float32([0, 2]), np.float32([0, 8])) < 1e-6


def test_models_that_are_quantized_are_refused() -> None:
    amct.create_quant_config("config.json", "net.onnx")
    amct.quantize_model("config.json", "net.onnx", "modified.onnx", "record.txt")
    amct.accuracy_based_auto_calibration("net.onnx", Judge(), "config.json", "record.txt", "out/net")
    for model in ("modified.onnx", "out/net_fake_quant_model.onnx", "out/net_deploy_model.onnx"):
        for call in (
            partial(amct.create_quant_config, "c.json", model),
            partial(amct.quantize_model, "config.json", model, "m.onnx", "r.txt"),
            partial(amct.accuracy_based_auto_calibration, model, Judge(), "config.json", "r.txt", "new/net"),
        ):
            with pytest.raises(RuntimeError, match="for following quant layers are in the model"):
                call()
        assert not Path("c.json").exists()
        assert not Path("m.onnx").exists()


def test_the_float_model_cannot_be_saved() -> None:
    amct.create_quant_config("config.json", "net.onnx")
    amct.accuracy_based_auto_calibration("net.onnx", Judge(), "config.json", "record.txt", "out/net")
    with pytest.raises(RuntimeError, match="is no calibration model"):
        amct.save_model("net.onnx", "record.txt", "new/net")
    assert not list(Path("new").glob("*"))


def test_an_evaluator_whose_calibration_fails_in_an_op_is_told_why() -> None:
    class Damaged(Judge):
        def calibration(self, model_file: str) -> None:
            session = ort.InferenceSession(model_file, amct.AMCT_SO)
            shape = [size if isinstance(size, int) else 1 for size in session.get_inputs()[0].shape]
            session.run(None, {session.get_inputs()[0].name: np.full(shape, np.nan, np.float32)})

    amct.create_quant_config("config.json", "net.onnx")
    with pytest.raises(RuntimeError, match="The activation to be quantized has invalid value inf or nan!"):
        amct.accuracy_based_auto_calibration("net.onnx", Damaged(), "config.json", "record.txt", "out/net")
