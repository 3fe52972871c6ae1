"""Scripts written for amct_caffe, in the manner of AMCT's samples, run after their imports are changed.

The scripts stand in `scripts/`; `import caffe` is one of their imports. What is corrected against the
samples: the evaluator of the manual is defined under one name and instantiated under another; `metric_eval`
takes any gain as no loss, here it counts as a difference.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from qir.backends.ascend.record_reader import parse_record
from qir.samples import sample_named

SCRIPTS = Path(__file__).parent / "scripts"
NETS = Path(__file__).parent.parent / "data" / "caffe"
DIGITS = sample_named("digits")
LAYERS = ["conv1", "conv2", "conv3", "pool1", "conv4", "conv5", "fc1", "fc2"]
_IMPORT = re.compile(r"^(import|from) amct_caffe\b", re.MULTILINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_script(name: str, *arguments: object) -> None:
    text = (SCRIPTS / name).read_text()
    changed = _IMPORT.sub(r"\1 qir.compat.amct_caffe", text)
    changed = changed.replace("import caffe\n", "import qir.compat.amct_caffe as caffe\n")
    assert changed != text
    Path(name).write_text(changed)
    net = (NETS / "digits_cnn.prototxt", NETS / "digits_cnn.caffemodel")
    before = sys.argv
    sys.argv = [name, *map(str, (*net, DIGITS.calibration, DIGITS.test, *arguments))]
    try:
        runpy.run_path(name, run_name="__main__")
    finally:
        sys.argv = before


def test_uniform_quantization(capsys: pytest.CaptureFixture[str]) -> None:
    run_script("caffe_uniform_quantization.py")
    found = re.search(r"before quantize is ([\d.]+), after quantize is ([\d.]+)", capsys.readouterr().out)
    assert found is not None
    before, after = map(float, found.groups())
    assert before > 0.95
    assert abs(before - after) < 0.01
    files = sorted(str(path) for folder in ("results", "tmp") for path in Path(folder).iterdir())
    assert files == [
        "results/digits_deploy_model.onnx",
        "results/digits_fake_quant_model.onnx",
        "results/digits_quant.json",
        "tmp/config.json",
        "tmp/modified_model.prototxt",
        "tmp/record.txt",
    ]
    assert list(parse_record(Path("tmp/record.txt").read_text())) == LAYERS


def history() -> list[tuple[dict[str, bool], list[object]]]:
    text = Path("amct_log/accuracy_based_auto_calibration_record.json").read_text()
    steps = [json.loads(part) for part in re.split(r"(?<=\})(?=\{)", text)]
    return [(step["roll_back_config"], step["metric_eval"]) for step in steps]


def test_accuracy_based_when_some_layers_must_go_back() -> None:
    run_script("caffe_accuracy_based.py", 1.0)
    ((flags, answer),) = history()
    assert list(flags) == LAYERS
    assert all(flags.values())
    assert answer[0] is True
    loss = answer[1]
    assert isinstance(loss, float)
    run_script("caffe_accuracy_based.py", loss * 0.9)
    steps = history()
    assert steps[0][1] == [False, loss]
    kept = {name for name, quantized in steps[-1][0].items() if quantized}
    assert 0 < len(kept) < len(LAYERS)
    assert set(parse_record(Path("tmp/scale_offset_record.txt").read_text())) == kept
    assert sorted(path.name for path in Path("results").iterdir()) == [
        "accuracy_based_auto_calibration_final_config.json",
        "accuracy_based_auto_calibration_ranking_information.json",
        "digits_deploy_model.onnx", "digits_fake_quant_model.onnx", "digits_quant.json",
    ]  # fmt: skip
    config = json.loads(Path("config.json").read_text())
    assert {n for n, v in config.items() if isinstance(v, dict) and v["quant_enable"]} == kept


def test_accuracy_based_when_nothing_satisfies() -> None:
    run_script("caffe_accuracy_based.py", 0.0)
    ranking = "accuracy_based_auto_calibration_ranking_information.json"
    assert [path.name for path in Path("results").iterdir()] == [ranking]
    assert {name for name, _ in json.loads(Path("results", ranking).read_text())} == set(LAYERS)
    assert not any(history()[-1][0].values())
