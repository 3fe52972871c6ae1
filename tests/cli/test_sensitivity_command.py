"""`qir sensitivity` as a user types it: table, files, slips."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main
from qir.samples import sample_named

SAMPLE = sample_named("digits")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words])


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("closed") / "digits.qir"
    qir.save(qir.quantize("sample:digits", SAMPLE.calibration, proof_samples=0).graph, path)
    return path


def test_files_and_table_have_the_numbers_of_the_report(tmp_path: Path) -> None:
    result = run(
        "sensitivity", "sample:digits", "--metric", "mse", "-o", tmp_path / "new" / "net", "--top", 3
    )
    assert result.exit_code == 0, result.output
    report = qir.sensitivity("sample:digits", SAMPLE.calibration, metric="mse")
    assert report.samples == 16
    scores = [layer.score for layer in report.layers]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 8
    assert sum(layer.mac_share or 0 for layer in report.layers) == pytest.approx(1)
    with (tmp_path / "new" / "net_sensitivity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = json.loads((tmp_path / "new" / "net_sensitivity.json").read_text())
    assert {key: found[key] for key in ("metric", "worse", "mode", "samples")} == {
        "metric": "mse", "worse": "high", "mode": "layer", "samples": 16,
    }  # fmt: skip
    for rank, (layer, row, item) in enumerate(zip(report.layers, rows, found["layers"], strict=True), 1):
        assert item == {
            "rank": rank, "layer": layer.layer, "op": layer.op, "score": layer.score, "macs": layer.macs,
            "mac_share": layer.mac_share,
        }  # fmt: skip
        assert (int(row["rank"]), row["layer"], row["op"]) == (rank, layer.layer, layer.op)
        assert (float(row["score"]), int(row["macs"])) == (layer.score, layer.macs)
        assert float(row["mac_share"]) == layer.mac_share
        assert (layer.layer in result.stdout) == (rank <= 3), result.stdout
    assert "and 5 less sensitive layers" in result.stdout
    assert "more is worse" in result.stdout
    png = (tmp_path / "new" / "net_sensitivity.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_a_closed_graph_gives_the_scores_of_its_float_model(closed: Path, tmp_path: Path) -> None:
    words = ("--data", SAMPLE.calibration, "--mode", "model", "--samples", 2, "--no-plot", "--quiet")
    for model, name in ((SAMPLE.model, "float"), (closed, "closed")):
        result = run("sensitivity", model, *words, "-o", tmp_path / name)
        assert (result.exit_code, result.output) == (0, "")
    written = {kind: (tmp_path / f"float_sensitivity.{kind}").read_bytes() for kind in ("csv", "json")}
    for kind, content in written.items():
        assert (tmp_path / f"closed_sensitivity.{kind}").read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 4
    assert json.loads(written["json"])["samples"] == 2


def test_statistics_and_skipped_layers(tmp_path: Path) -> None:
    stats = tmp_path / "stats.npz"
    assert run("calibrate", "sample:digits", "-o", stats, "--quiet").exit_code == 0
    layer = "/f2/Gemm"
    both = [
        run("sensitivity", "sample:digits", "--method", "min-max", "--skip", layer, *more)
        for more in ((), ("--stats", stats))
    ]
    assert both[0].exit_code == 0, both[0].output
    assert layer not in both[0].stdout
    assert both[0].stdout == both[1].stdout


def test_scores_that_are_infinite_are_json_too(tmp_path: Path) -> None:
    from qir.runtime.metrics import metric_named
    from qir.sensitivity_plot import plot_sensitivity
    from qir.sensitivity_report import LayerSensitivity, SensitivityReport

    layers = tuple(
        LayerSensitivity(f"$a_{i}$" * 30, "Conv", score, None, None)
        for i, score in enumerate((-math.inf, 3.5, math.inf))
    )
    report = SensitivityReport(metric_named("sqnr"), "model", 1, layers)
    found = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert [item["score"] for item in found["layers"]] == ["-inf", 3.5, "inf"]
    assert [float(row["score"]) for row in csv.DictReader(report.to_csv().splitlines())] == [
        -math.inf, 3.5, math.inf,
    ]  # fmt: skip
    assert plot_sensitivity(report).startswith(b"\x89PNG")


def test_slips(closed: Path, tmp_path: Path) -> None:
    data = ("--data", SAMPLE.calibration)
    skipped = [w for layer in _layers() for w in ("--skip", layer)]
    for words, part in (
        ((SAMPLE.model,), "no data; give --data"),
        ((SAMPLE.model, *data, "--metric", "cosine"), "did you mean 'cosine-similarity'"),
        ((SAMPLE.model, *data, *skipped), "no layer was quantized"),
        ((closed, *data, "--method", "kl"), "the model is quantized already"),
        ((SAMPLE.model, *data, "-o", tmp_path / "no" / "no" / "net"), "cannot be made"),
        ((tmp_path / "no.onnx", *data), "does not exist"),
    ):
        result = run("sensitivity", *words)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert part in result.stderr, result.stderr
    for words in (("--samples", 0), ("--mode", "models"), ("--top", 0)):
        assert run("sensitivity", SAMPLE.model, *data, *words).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_slips_in_python(closed: Path) -> None:
    with pytest.raises(qir.QirError, match="samples must be at least 1, not 0"):
        qir.sensitivity(closed, SAMPLE.calibration, samples=0)
    with pytest.raises(qir.QirError, match=r"no mode 'modle'.*did you mean 'model'"):
        qir.sensitivity(closed, SAMPLE.calibration, mode="modle")  # type: ignore[arg-type]


def test_without_matplotlib_it_says_so_before_the_work(
    closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ("sensitivity", closed, "--data", SAMPLE.calibration, "-o", tmp_path / "net")
    result = run(*words)
    assert result.exit_code == 1
    assert "a plot needs matplotlib: pip install 'qir[plots]'" in result.stderr
    assert not list(tmp_path.iterdir())


def _layers() -> list[str]:
    return list(qir.sensitivity("sample:digits", SAMPLE.calibration, samples=1).scores)
