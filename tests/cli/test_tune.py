"""`qir tune` from the outside: exit codes, the table of phases, what it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qir.cli.main import main

EVALUATOR = """
import onnx

def evaluate(model_file):
    graph = onnx.load(model_file).graph
    return float(sum(node.op_type == "Round" for node in graph.node))
"""


def run(folder: Path, *options: str) -> Result:
    (folder / "count.py").write_text(EVALUATOR)
    prefix = ["tune", "sample:digits", "-o", str(folder / "d"), "--proof-samples", "0"]
    judge = ["--evaluator", str(folder / "count.py"), "--lower-is-better"]
    return CliRunner().invoke(main, [*prefix, *judge, *options], env={"COLUMNS": "160"})


def files(folder: Path) -> list[str]:
    return sorted(path.name.removeprefix("d_") for path in folder.glob("d_*"))


def test_phases_and_files(tmp_path: Path) -> None:
    done = run(tmp_path, "--max-drop", "6")
    assert done.exit_code == 0, done.output
    assert "step 2: int8 8, metric 8, loss 8: loses too much" in done.stderr
    lines = done.stdout.splitlines()
    phases = [line.split("│")[1].strip() for line in lines if line.startswith("│") and "model" not in line]
    order = ["all int8", "all int16", "all int16-ec", "all float16"]
    assert [name for name in phases if name.startswith("all")] == order
    assert any("int8 to float16" in line and "<- best" in line for line in lines)
    assert "all int16-ec: no layer has it on this target" in done.stdout
    assert "2 of 8 layers are raised: int8 6, float16 2" in done.stdout
    assert files(tmp_path) == [
        "deploy_model.onnx", "fake_quant_model.onnx", "journal.jsonl", "quant.json", "quant_config.json",
        "record.txt", "report.json", "resolved_config.json",
    ]  # fmt: skip
    for path in tmp_path.glob("d_*"):
        if path.suffix not in (".jsonl",):
            assert f"wrote {path}" in done.stdout
    again = run(tmp_path, "--max-drop", "6")
    assert "0 evaluations took 0.0 s" in again.stdout


def test_a_page_about_the_result(tmp_path: Path) -> None:
    done = run(tmp_path, "--max-drop", "6", "--report")
    assert done.exit_code == 0, done.output
    page = tmp_path / "d_report.html"
    for path in (page, tmp_path / "d_report.json"):
        assert f"wrote {path}" in done.stdout
    text = page.read_text(encoding="utf-8")
    for heading in ("Phases of the tuning", "Search", "Layers"):
        assert re.search(rf"<h2[^>]*>{heading}</h2>", text), heading
    assert "given back" in text
    report = json.loads((tmp_path / "d_report.json").read_text())
    assert report["search"]["phases"][1]["layers"] == {"int8": 8}
    assert all(layer["isolated"] is not None for layer in report["layers"] if layer["precision"] == "int8")
    failed = run(tmp_path, "--max-drop", "0.5", "--ladder", "int16", "--report", "--restart")
    assert failed.exit_code == 3
    assert "The search ended without a model" in page.read_text(encoding="utf-8")


def test_quantize_takes_the_configuration(tmp_path: Path) -> None:
    done = run(tmp_path, "--max-drop", "6", "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    config = tmp_path / "d_quant_config.json"
    assert {node["qtype"] for node in json.loads(config.read_text())["node_config"].values()} == {"float16"}
    prefix = ["quantize", "sample:digits", "--quant-config", str(config), "-o", str(tmp_path / "q")]
    made = CliRunner().invoke(main, prefix)
    assert made.exit_code == 0, made.output
    for name in ("fake_quant_model.onnx", "deploy_model.onnx", "record.txt"):
        assert (tmp_path / f"q_{name}").read_bytes() == (tmp_path / f"d_{name}").read_bytes()


def test_an_unreachable_target_is_exit_code_3(tmp_path: Path) -> None:
    done = run(tmp_path, "--max-drop", "0.5", "--ladder", "int16")
    assert done.exit_code == 3
    assert "error: no mixture of precisions keeps the accuracy" in done.stderr
    assert "nearest: metric 8, loss 8, with int8 8; --keep-best would write it" in done.stderr
    assert files(tmp_path) == ["journal.jsonl", "report.json"]
    limited = run(tmp_path, "--max-drop", "0.5", "--max-evaluations", "2", "--restart")
    assert limited.exit_code == 3
    assert "the limit came before any mixture kept the accuracy" in limited.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--max-drop", "1", "--ladder", "int8"], 1, "there is no rung 'int8'"),
        (["--max-drop", "1", "--method", "kll"], 1, "did you mean 'kl'"),
        (["--max-drop", "1", "--skip", "/a/a.0/Con"], 1, "did you mean '/a/a.0/Conv'"),
        (["--max-drop", "1", "--quant-config", "missing.json"], 1, "missing.json"),
        (["--max-drop", "-1"], 1, "max_drop must be"),
        (["--max-drop", "1", "--form", "qqd"], 2, "'qqd' is not one of"),
    ],
)
def test_bad_options(options: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = run(tmp_path, *options)
    assert done.exit_code == code
    assert said in done.stderr
    assert files(tmp_path) == []
