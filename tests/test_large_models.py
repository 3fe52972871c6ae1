"""Models whose data stand beside them, as over 2 GB: the commands name every file and count the data."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import qir
from qir.backends.files import output_paths
from qir.cli.main import main
from qir.frontends.onnx import save_model
from qir.samples import sample_named


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = functools.partial(save_model, external_bytes=10_000)
    monkeypatch.setattr("qir.backends.files.save_model", limited)


def test_every_file_is_named_and_the_data_count(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["quantize", "sample:digits", "-o", str(tmp_path / "x")])
    assert done.exit_code == 0, done.output
    files = sorted(path.name for path in tmp_path.iterdir())
    assert (
        sorted(Path(line[6:]).name for line in done.stdout.splitlines() if line.startswith("wrote ")) == files
    )
    assert {"x_deploy_model.onnx.data", "x_fake_quant_model.onnx.data"} <= set(files)
    sizes = [(tmp_path / f"x_deploy_model.onnx{end}").stat().st_size for end in ("", ".data")]
    summary = json.loads((tmp_path / "x_report.json").read_text())["summary"]
    assert summary["deploy_bytes"] == sum(sizes) > 100_000


def test_the_model_runs_from_where_it_is(tmp_path: Path) -> None:
    sample = sample_named("digits")
    result = qir.quantize("sample:digits", str(sample.calibration), output=tmp_path / "x", target="qdq")
    assert result.paths is not None
    model = tmp_path / "x_fake_quant_model.onnx"
    assert result.paths.written == (model, Path(f"{model}.data"))
    found = qir.benchmark("sample:digits", model, str(sample.calibration), samples=1, rounds=1)
    assert found.candidate.seconds > 0


def test_what_is_not_there_is_not_named(tmp_path: Path) -> None:
    assert output_paths(tmp_path / "nothing").written == ()
