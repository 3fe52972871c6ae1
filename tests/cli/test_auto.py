"""`qir auto` from the outside: exit codes, what it prints, what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qir.cli.main import main
from qir.samples import sample_named

TEST = sample_named("digits").test
EVALUATOR = """
import onnx

def evaluate(model_file):
    ops = [node.op_type for node in onnx.load(model_file).graph.node]
    return float(ops.count("Round"))
"""


def run(folder: Path, *options: str) -> Result:
    (folder / "count.py").write_text(EVALUATOR)
    prefix = ["auto", "sample:digits", "-o", str(folder / "d"), "--proof-samples", "0"]
    return CliRunner().invoke(main, [*prefix, *options])


def count(folder: Path) -> list[str]:
    return ["--evaluator", str(folder / "count.py"), "--lower-is-better"]


def test_labelled_images_decide(tmp_path: Path) -> None:
    done = run(tmp_path, "--evaluator", f"top1:{TEST}", "--max-drop", "0.02")
    assert done.exit_code == 0, done.output
    assert "step 2: 0 of 8 layers rolled back" in done.stderr
    assert "keeps the accuracy" in done.stderr
    assert "8 of 8 layers are quantized" in done.stdout
    assert (tmp_path / "d_deploy_model.onnx").exists()
    again = run(tmp_path, "--evaluator", f"top1:{TEST}", "--max-drop", "0.02")
    assert "0 evaluations took 0.0 s, 2 came from the journal" in again.stdout


def test_what_changed_and_what_still_counts_is_said(tmp_path: Path) -> None:
    judge = (*count(tmp_path), "--max-drop", "1000")
    run(tmp_path, *judge)
    layer = run(tmp_path, *judge, "--sensitivity-mode", "layer")
    assert "last run: sensitivity; metrics of then count, layers are ranked anew" in layer.stdout
    assert "0 evaluations took 0.0 s, 2 came from the journal" in layer.stdout
    skipping = run(tmp_path, *judge, "--sensitivity-mode", "layer", "--skip", "/f1/Gemm")
    assert "last run: config; of the metrics of then that of the original model alone" in skipping.stdout
    assert "1 evaluations took" in skipping.stdout
    other = run(tmp_path, "--evaluator", f"top1:{TEST}", "--max-drop", "1", "--skip", "/f1/Gemm")
    assert "last run: evaluator, sensitivity; metrics of then do not count" in other.stdout
    assert "2 evaluations took" in other.stdout


def test_layers_go_back_to_float(tmp_path: Path) -> None:
    done = run(tmp_path, *count(tmp_path), "--max-drop", "3", "--strategy", "Greedy")
    assert done.exit_code == 0, done.output
    assert "3 of 8 layers are quantized as configured, 5 rolled back" in done.stdout
    assert "left in float by the search" in done.stdout


def test_an_unreachable_target_is_exit_code_3(tmp_path: Path) -> None:
    by_layer = ("--sensitivity-mode", "layer")
    done = run(tmp_path, *count(tmp_path), "--max-drop", "0.5", *by_layer)
    assert done.exit_code == 3
    assert "error: no quantized model is generated" in done.stderr
    assert "nearest: metric 1, loss 1, with 7 of 8 layers rolled back" in done.stderr
    assert "most sensitive layers: '/c/c.0/Conv'" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("d_*")) == ["d_journal.jsonl", "d_report.json"]
    kept = run(tmp_path, *count(tmp_path), "--max-drop", "0.5", *by_layer, "--keep-best", "--quiet")
    assert kept.exit_code == 3
    assert kept.stdout == ""
    assert "written as asked" in kept.stderr
    assert (tmp_path / "d_deploy_model.onnx").exists()


def test_limits(tmp_path: Path) -> None:
    done = run(tmp_path, *count(tmp_path), "--max-drop", "0.5", "--max-evaluations", "2")
    assert done.exit_code == 3
    assert "the limit came before" in done.stderr
    done = run(tmp_path, *count(tmp_path), "--max-drop", "0.5", "--max-evaluations", "1")
    assert done.exit_code == 2


def test_the_limit_bounds_what_is_said_to_be_left(tmp_path: Path) -> None:
    done = run(
        tmp_path, *count(tmp_path), "--max-drop", "0.5", "--strategy", "Refine", "--max-evaluations", "4"
    )
    steps = [line for line in done.stderr.splitlines() if line.startswith("step")]
    assert steps[2].endswith("; at most 1 more evaluation")
    assert "more evaluation" not in steps[3]


def test_what_rolled_back_layers_became_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, *count(tmp_path), "--max-drop", "3", "--fallback", "float16,float32")
    assert "layers rolled back to float16, metric" in done.stderr
    assert "3 of 8 layers are quantized as configured, 5 rolled back to float16" in done.stdout
    wide = run(tmp_path, *count(tmp_path), "--max-drop", "0", "--fallback", "int16", "--keep-best")
    assert "8 of 8 layers rolled back to int16 7, float32 1, metric" in wide.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-drop", "1", "--strategy", "Gredy"], "did you mean 'Greedy'"),
        (["--max-drop", "1", "--sensitivity", "cosine"], "did you mean 'cosine-similarity'"),
        (["--max-drop", "1", "--fallback", "int61"], "did you mean 'int16'"),
        (["--max-drop", "-1"], "max_drop must be"),
        ([], "does not say what is good enough"),
    ],
)
def test_wrong_options(options: list[str], said: str, tmp_path: Path) -> None:
    done = run(tmp_path, *count(tmp_path), *options)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("d_*")) == []


def test_a_failing_evaluator_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def evaluate(model_file):\n    raise ValueError('no images')\n")
    done = run(tmp_path, "--evaluator", str(tmp_path / "bad.py"), "--max-drop", "1")
    assert done.exit_code == 1
    assert (
        "error: the evaluator raised ValueError: no images, when it was given the original model"
        in done.stderr
    )


def test_a_configuration_is_where_it_starts(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    made = CliRunner().invoke(main, ["config", "sample:digits", "-o", str(config)])
    assert made.exit_code == 0, made.output
    entries = json.loads(config.read_text())
    entries["/e/e.0/Conv"]["quant_enable"] = False
    config.write_text(json.dumps(entries))
    done = run(tmp_path, *count(tmp_path), "--max-drop", "7", "--config", str(config))
    assert done.exit_code == 0, done.output
    assert "7 of 7 layers are quantized as configured" in done.stdout
    final = json.loads((tmp_path / "accuracy_based_auto_calibration_final_config.json").read_text())
    assert final["/e/e.0/Conv"]["quant_enable"] is False
    assert final["/a/a.0/Conv"]["quant_enable"] is True
