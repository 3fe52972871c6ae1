"""Scripts written for amct_onnx, in the manner of its manual, run with nothing but their imports changed.

The scripts stand in `scripts/` as they are for AMCT. What is corrected against the manual's samples: their
evaluator class is defined under one name and instantiated under another, callbacks for ONNX have the
arguments of Caffe's (a weights file), and the calibration model is called modfied_onnx_file,
modified_onnx_file and modified_onnx_model (all are accepted, so that is left).
"""

from __future__ import annotations

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import qir
from qir.backends.ascend.record_reader import parse_record
from qir.samples import sample_named

SCRIPTS = Path(__file__).parent / "scripts"
DIGITS = sample_named("digits")
MODULES = {
    "auto_calibration_evaluator_base": ["AutoCalibrationEvaluatorBase"],
    "auto_calibration_strategy_base": ["AutoCalibrationStrategyBase"],
    "binary_search_strategy": ["BinarySearchStrategy"],
    "sensitivity_base": ["SensitivityBase", "MseSensitivity"],
    "cosine_similarity_sensitivity": ["CosineSimilaritySensitivity"],
}
_IMPORT = re.compile(r"^(import|from) amct_onnx\b", re.MULTILINE)


def run_script(name: str, *arguments: object, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a script with its imports changed; what it printed."""
    text = (SCRIPTS / name).read_text()
    changed = _IMPORT.sub(r"\1 qir.compat.amct_onnx", text)
    assert changed != text
    Path(name).write_text(changed)
    before = sys.argv
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_path(name, run_name="__main__")
    finally:
        sys.argv = before
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_uniform_quantization(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_script("uniform_quantization.py", DIGITS.model, DIGITS.calibration, DIGITS.test, capsys=capsys)
    found = re.search(r"before quantize ([\d.]+) after quantize ([\d.]+)", out)
    assert found is not None
    before, after = map(float, found.groups())
    assert before > 0.95
    assert abs(before - after) < 0.01
    files = sorted(str(path) for path in Path("outputs").rglob("*.*"))
    assert files == [
        "outputs/calibration/digits_deploy_model.onnx",
        "outputs/calibration/digits_fake_quant_model.onnx",
        "outputs/calibration/digits_quant.json",
        "outputs/calibration/tmp/config.json",
        "outputs/calibration/tmp/modified_model.onnx",
        "outputs/calibration/tmp/record.txt",
    ]
    assert modes(Path("outputs")) == {"0o640"}


def test_simplified_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    run_script("simplified_configuration.py", DIGITS.model, DIGITS.calibration, capsys=capsys)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "deploy_model.onnx", "fake_quant_model.onnx", "quant.json"
    ]  # fmt: skip
    records = parse_record(Path("record.txt").read_text())
    assert "/f2/Gemm" not in records
    assert len(records["/c/c.0/Conv"].scale_w) == 1
    assert len(records["/b/b.0/Conv"].scale_w) > 1
    config = json.loads(Path("config.json").read_text())
    assert config["/f1/Gemm"]["activation_quant_params"]["act_algo"] == "hfmg"
    ops = {node.op for node in qir.load("modified_model.onnx").nodes}
    assert {"IFMR", "HFMG"} <= ops


def search(loss: float, capsys: pytest.CaptureFixture[str]) -> Path:
    run_script(
        "accuracy_based.py", "--model", DIGITS.model, "--calibration", DIGITS.calibration,
        "--test", DIGITS.test, "--loss", loss, capsys=capsys,
    )  # fmt: skip
    return Path("outputs/accuracy_based_auto_calibration")


def modes(folder: Path) -> set[str]:
    return {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*.*")}


def history() -> list[dict[str, object]]:
    text = Path("amct_log/accuracy_based_auto_calibration_record.json").read_text()
    return [json.loads(part) for part in re.split(r"(?<=\})(?=\{)", text)]


def test_accuracy_based_when_all_layers_may_stay(capsys: pytest.CaptureFixture[str]) -> None:
    folder = search(1.0, capsys)
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracy_based_auto_calibration_final_config.json",
        "accuracy_based_auto_calibration_ranking_information.json",
        "config.json", "digits_deploy_model.onnx", "digits_fake_quant_model.onnx", "digits_quant.json",
        "scale_offset_record.txt",
    ]  # fmt: skip
    assert modes(folder) == {"0o640"}
    ((flags, answer),) = [tuple(step.values()) for step in history()]
    assert isinstance(flags, dict)
    assert all(flags.values())
    assert answer[0] is True
    ranking = json.loads((folder / "accuracy_based_auto_calibration_ranking_information.json").read_text())
    assert [score for _, score in ranking] == sorted(score for _, score in ranking)
    assert {name for name, _ in ranking} == set(flags)


def test_accuracy_based_when_some_layers_must_go_back(capsys: pytest.CaptureFixture[str]) -> None:
    folder = search(1.0, capsys)
    losses = [step["metric_eval"] for step in history()]
    loss = losses[0][1] * 0.9  # type: ignore[index]
    folder = search(loss, capsys)
    steps = history()
    assert steps[0]["metric_eval"][0] is False  # type: ignore[index]
    final = steps[-1]["roll_back_config"]
    assert isinstance(final, dict)
    kept = {name for name, quantized in final.items() if quantized}
    assert 0 < len(kept) < len(final)
    assert set(parse_record((folder / "scale_offset_record.txt").read_text())) == kept
    for name in ("config.json", "accuracy_based_auto_calibration_final_config.json"):
        config = json.loads((folder / name).read_text())
        assert {n for n, v in config.items() if isinstance(v, dict) and v["quant_enable"]} == kept


def test_accuracy_based_when_nothing_satisfies(capsys: pytest.CaptureFixture[str]) -> None:
    folder = search(0.0, capsys)
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracy_based_auto_calibration_ranking_information.json", "config.json", "scale_offset_record.txt"
    ]  # fmt: skip
    last = history()[-1]
    assert not any(last["roll_back_config"].values())  # type: ignore[attr-defined]
    assert last["metric_eval"] == [True, 0.0]


def test_convert_qat(capsys: pytest.CaptureFixture[str]) -> None:
    done = qir.quantize("sample:digits", DIGITS.calibration, output="qat", form="qdq", proof_samples=0)
    assert done.paths is not None
    out = run_script("convert_qat.py", done.paths.fake_quant_model, DIGITS.calibration, capsys=capsys)
    assert float(out.split()[-1]) < 0.02
    assert sorted(path.name for path in Path("outputs/convert_qat").iterdir()) == [
        "net_deploy_model.onnx", "net_fake_quant_model.onnx", "record.txt"
    ]  # fmt: skip
    expected = parse_record(done.paths.record.read_text())
    found = parse_record(Path("outputs/convert_qat/record.txt").read_text())
    assert {n: np.float32(r.scale_d) for n, r in found.items()} == {
        n: np.float32(r.scale_d) for n, r in expected.items()
    }


def test_a_strategy_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    def floats(loss: float) -> list[int]:
        run_script("incremental_strategy.py", DIGITS.model, DIGITS.calibration, loss, capsys=capsys)
        flags = [step["roll_back_config"] for step in history()]
        return [list(step.values()).count(False) for step in flags]  # type: ignore[attr-defined]

    assert floats(1.0) == [0]
    whole = history()[0]["metric_eval"][1]  # type: ignore[index]
    some = floats(whole * 0.3)
    assert some == [0, 2, 4, 6][: len(some)]
    assert len(some) > 1
    assert Path("out/net_deploy_model.onnx").exists()
    assert floats(0.0) == [0, 2, 4, 6, 8]
    assert not Path("out/net_deploy_model.onnx").exists()


def test_modules_have_amcts_names() -> None:
    where = "qir.compat.amct_onnx.common.auto_calibration"
    package = importlib.import_module(where)
    for module, names in MODULES.items():
        found = importlib.import_module(f"{where}.{module}")
        for name in names:
            assert getattr(found, name) is getattr(package, name)
    assert issubclass(package.BinarySearchStrategy, package.AutoCalibrationStrategyBase)
