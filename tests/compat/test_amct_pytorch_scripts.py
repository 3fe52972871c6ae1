"""Scripts written for amct_pytorch, in the manner of its manual, run with nothing but their imports changed.

What is corrected against the manual's samples: the evaluator's class is defined under one name and used under
another.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from qir.backends.ascend.record_reader import parse_record  # noqa: E402
from qir.samples import sample_named  # noqa: E402

SCRIPTS = Path(__file__).parent / "scripts"
DIGITS = sample_named("digits")
_IMPORT = re.compile(r"^(import|from) amct_pytorch\b", re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SCRIPTS))
    held = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(DIGITS.model).graph.initializer}
    norms = {name for name in held if name.endswith("running_mean")}
    counts = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in norms}
    torch.save({**held, **counts}, "digits.pth")


def run_script(name: str, *arguments: object) -> None:
    text = (SCRIPTS / name).read_text()
    changed = _IMPORT.sub(r"\1 qir.compat.amct_pytorch", text)
    assert changed != text
    Path(name).write_text(changed)
    before = sys.argv
    sys.argv = [name, "digits.pth", str(DIGITS.calibration), str(DIGITS.test), *map(str, arguments)]
    try:
        runpy.run_path(name, run_name="__main__")
    finally:
        sys.argv = before


def test_uniform_quantization(capsys: pytest.CaptureFixture[str]) -> None:
    run_script("pytorch_uniform_quantization.py")
    found = re.search(r"before quantize ([\d.]+) after quantize ([\d.]+)", capsys.readouterr().out)
    assert found is not None
    before, after = map(float, found.groups())
    assert before > 0.95
    assert abs(before - after) < 0.01
    files = sorted(str(path) for path in Path("outputs").rglob("*.*"))
    assert files == [
        "outputs/calibration/digits_deploy_model.onnx",
        "outputs/calibration/digits_fake_quant_model.onnx",
        "outputs/calibration/tmp/config.json",
        "outputs/calibration/tmp/modified_model.onnx",
        "outputs/calibration/tmp/record.txt",
    ]
    layers = ["a.0", "b.0", "c.0", "pool", "d.0", "e.0", "f1", "f2"]
    assert list(parse_record(Path("outputs/calibration/tmp/record.txt").read_text())) == layers


@pytest.mark.parametrize(("loss", "files"), [(1.0, 2), (0.0, 0)])
def test_accuracy_based(loss: float, files: int) -> None:
    run_script("pytorch_accuracy_based.py", loss)
    made = Path("outputs/accuracy_based_auto_calibration")
    assert len(list(made.glob("*.onnx"))) == files
    ranking = json.loads((made / "accuracy_based_auto_calibration_ranking_information.json").read_text())
    assert {name for name, _ in ranking} == {"a.0", "b.0", "c.0", "pool", "d.0", "e.0", "f1", "f2"}
