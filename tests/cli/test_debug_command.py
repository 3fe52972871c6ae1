"""`qir debug`: the files and tables of each kind, and what is refused."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main
from qir.debug import get_sensitivity_of_nodes
from qir.samples import sample_named

SAMPLE = sample_named("digits")
LAYERS = ["/a/a.0/Conv", "/f2/Gemm"]


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["debug", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("closed") / "digits.qir"
    qir.save(qir.quantize("sample:digits", SAMPLE.calibration, proof_samples=0).graph, path)
    return path


def test_sensitivity_writes_what_the_function_returns(closed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    words = ["--data", SAMPLE.calibration, "--samples", 2, "--metric", "mse", "--metric", "sqnr"]
    result = run("sensitivity", closed, *words, "--node", LAYERS[0], "--node", ",".join(LAYERS), "-o", folder)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "sensitivity_node.json").read_text())
    expected = get_sensitivity_of_nodes(
        closed, ["mse", "sqnr"], SAMPLE.calibration, data_num=2, interested_nodes=[LAYERS[0], LAYERS]
    )
    assert {row["node"]: row["scores"] for row in found["rows"]} == expected
    assert (found["model"], found["samples"], found["outputs"]) == ("digits.qir", 2, ["output"])
    assert " + ".join(LAYERS) in result.stdout
    assert "more mse is worse" in result.stdout
    assert {path.name for path in folder.iterdir()} == {
        f"sensitivity_node.{ending}" for ending in ("csv", "json", "png")
    }


def test_a_float_model_is_calibrated_first(closed: Path, tmp_path: Path) -> None:
    for model, name in ((closed, "closed"), ("sample:digits", "float")):
        words = ["--data", SAMPLE.calibration, "--type", "weight", "--no-plot", "--quiet"]
        result = run("sensitivity", model, *words, "-o", tmp_path / name)
        assert (result.exit_code, result.output) == (0, "")
    files = [tmp_path / name / "sensitivity_weight.csv" for name in ("closed", "float")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_error_has_a_curve_for_each_option(closed: Path, tmp_path: Path) -> None:
    words = ["--only", "weight", "--only", ",".join(LAYERS), "--without", LAYERS[1], "--average", "--no-plot"]
    result = run("error", closed, "--data", SAMPLE.calibration, *words, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "error.json").read_text())
    labels = ["weights", " + ".join(LAYERS), f"all but {LAYERS[1]}"]
    assert [curve["label"] for curve in found["curves"]] == labels
    assert (found["average_mode"], found["picture"]) == (True, None)
    with (tmp_path / "error.csv").open(newline="") as file:
        assert list(csv.DictReader(file).fieldnames or []) == ["place", "node", "op", "output", *labels]


def test_distribution_and_channels_have_a_picture_per_node(closed: Path, tmp_path: Path) -> None:
    for kind in ("distribution", "channels"):
        words = ["--data", SAMPLE.calibration, "--samples", 2, "--node", ",".join(LAYERS)]
        result = run(kind, closed, *words, "-o", tmp_path)
        assert result.exit_code == 0, result.output
        found = json.loads((tmp_path / f"{kind}.json").read_text())
        assert [node["node"] for node in found["nodes"]] == LAYERS
        for node in found["nodes"]:
            assert (tmp_path / node["picture"]).read_bytes().startswith(b"\x89PNG")


def test_partial_and_all(closed: Path, tmp_path: Path) -> None:
    words = ["--data", SAMPLE.calibration, "--threshold", 1, "--no-plot"]
    result = run("partial", closed, *words, "-o", tmp_path / "partial")
    assert result.exit_code == 0, result.output
    assert "everything quantized: cosine-similarity 0.99" in result.stdout
    result = run("all", closed, *words, "--samples", 1, "-o", tmp_path / "all")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert {"debug.json", "error.csv", "partial.json", "channels.csv", "distribution.json"} <= names
    partial = [json.loads((tmp_path / kind / "partial.json").read_text()) for kind in ("partial", "all")]
    assert partial[0] == partial[1]
    result = run("all", closed, *words, "--samples", 1, "--only", "/f2/Gem", "-o", tmp_path / "missing")
    assert result.exit_code == 0, result.output
    assert "error is missing: --only: the model has no node '/f2/Gem'" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["channels"], 2, "channels needs --node NAME"),
        (["error", "--type", "weight"], 2, "--type goes with sensitivity, not with error"),
        (["sensitivity", "--axis", "1"], 2, "--axis goes with channels, all, not with sensitivity"),
        (
            ["error", "--metric", "mse", "--metric", "mae"],
            1,
            "--metric: one curve shows one metric; give it once",
        ),
        (["sensitivity", "--metric", "cos"], 1, "--metric: there is no metric 'cos'"),
        (["sensitivity", "--node", "/f2/Gem"], 1, "--node: the model has no node or quantized tensor"),
        (["partial", "--node", "/f2/Gem"], 1, "did you mean '/f2/Gemm'"),
        (["channels", "--node", "/f2/Gem"], 1, "--node: the model has no node '/f2/Gem'"),
        (["channels", "--node", "/f2/Gemm", "--axis", "7"], 1, "--axis: tensor "),
        (["error", "--only", "/f2/Gem"], 1, "--only: the model has no node '/f2/Gem'"),
        (["error", "--without", "/f2/Gem"], 1, "--without: the model has no node '/f2/Gem'"),
        (["sensitivity", "--output-node", "/f2/Gem"], 1, "--output-node: the model has no node or result"),
        (["sensitivity", "--samples", "1000"], 1, "--samples: 1000 samples were asked for, the data have"),
        (["partial", "--threshold", "2"], 2, "2"),
        (["sensitivity", "--method", "kl"], 1, "--method: the model is quantized already; leave it out, or"),
        (["error", "--skip", "a", "--method", "kl"], 1, "--method, --skip: the model is quantized already"),
        (["plots"], 2, "plots"),
    ],
)
def test_what_is_refused(closed: Path, tmp_path: Path, words: list[str], code: int, message: str) -> None:
    kind, *options = words
    result = run(kind, closed, "--data", SAMPLE.calibration, "-o", tmp_path / "out", *options)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split())
    assert not [path for path in (tmp_path / "out").glob("*") if path.is_file()]


def test_without_data_and_without_matplotlib(
    closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("sensitivity", closed, "-o", tmp_path)
    assert (result.exit_code, "no data" in result.output) == (1, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["--data", SAMPLE.calibration, "-o", tmp_path]
    result = run("error", closed, *words)
    assert result.exit_code == 1
    assert "pip install 'qir[plots]'" in result.output
    assert not list(tmp_path.iterdir())
    result = run("error", closed, *words, "--no-plot", "--samples", 1)
    assert result.exit_code == 0, result.output
