"""`qir report`, and `qir quantize --report`: the page, the table of layers, and errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from qir.cli.main import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_quantize_with_a_report(tmp_path: Path) -> None:
    done = run("quantize", "sample:digits", "-o", tmp_path / "d", "--report")
    assert done.exit_code == 0, done.output
    for part in (
        "cumulative",
        "isolated",
        "L1 (mean)",
        "L2 (rms)",
        "Chebyshev (max)",
        "everything quantized",
    ):
        assert part in done.stdout
    assert f"wrote {tmp_path / 'd_report.html'}" in done.stdout
    document = json.loads((tmp_path / "d_report.json").read_text())
    last = document["layers"][-1]
    lines = [line.split() for line in done.stdout.splitlines()]
    cosines = [f"{last[key]['cosine']:.6f}" for key in ("cumulative", "isolated")]
    assert [last["name"], *cosines] in [[line[0], *line[-2:]] for line in lines if len(line) > 2]
    accuracy = document["summary"]["accuracy"]
    assert f"FP32 {accuracy['float']:.4f}, fake-quant {accuracy['quantized']:.4f}" in done.stdout
    assert accuracy["metric"] in (tmp_path / "d_report.html").read_text(encoding="utf-8")
    first = (tmp_path / "d_report.html").read_bytes()
    again = run("report", tmp_path / "d", "-o", tmp_path / "page.html")
    assert again.stdout == f"wrote {tmp_path / 'page.html'}\n"
    assert (tmp_path / "page.html").read_bytes() == first


def test_errors(tmp_path: Path) -> None:
    for arguments, message in (
        ((tmp_path / "none",), "there is nothing to report"),
        ((), "a report needs the prefix"),
        ((tmp_path / "none", "--debug-folder", tmp_path / "missing"), "does not exist"),
    ):
        done = run("report", *arguments)
        assert done.exit_code == 1
        assert message in done.stderr
        assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())
