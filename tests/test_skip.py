"""Layers to skip by name, type and expression, wherever layers can be skipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qir
from qir.cli.main import main
from qir.ir.errors import ConfigError
from qir.samples import sample_named

SAMPLE = sample_named("digits")
with np.load(SAMPLE.calibration) as _held:
    DATA = {"input": _held["input"][:4]}


def floats(result: qir.Quantized) -> set[str]:
    return {layer.name for layer in result.report.layers if not layer.is_quantized}


def gemms() -> set[str]:
    return {node.name for node in qir.load(SAMPLE.model).nodes if node.op == "Gemm"}


def test_by_type_and_by_expression() -> None:
    assert len(gemms()) == 2
    assert floats(qir.quantize("sample:digits", DATA, skip="type:Gemm")) == gemms()
    assert floats(qir.quantize("sample:digits", DATA, skip=[r"regex:^/a/a\.0/", "type:Gemm"])) == {
        "/a/a.0/Conv", *gemms()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("type:Gem", "does not quantize 'Gem', only .*; did you mean 'Gemm'"),
        ("regex:^nowhere", "'\\^nowhere' matches no layer"),
        ("regex:(", "'\\(' is not a regular expression"),
        ("typ:Gemm", "there is no layer 'typ:Gemm'"),
    ],
)
def test_what_names_no_layer_is_an_error(entry: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        qir.quantize("sample:digits", DATA, skip=entry)
    with pytest.raises(ConfigError, match=said):
        qir.calibrate("sample:digits", DATA, skip=entry)


def test_a_written_configuration_has_the_layers_that_it_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    done = CliRunner().invoke(main, ["config", "sample:digits", "--skip", "type:Gemm", "-o", str(path)])
    assert done.exit_code == 0, done.output
    layers = json.loads(path.read_text())
    assert all(not layers[name]["quant_enable"] for name in gemms())
    done = CliRunner().invoke(main, ["config", "sample:digits", "--skip", "regex:^nowhere"])
    assert done.exit_code == 1
    assert "'^nowhere' matches no layer" in done.stderr


def test_searches_leave_them_in_float(tmp_path: Path) -> None:
    def accuracy(_: str) -> float:
        return 1.0

    found = qir.auto_quantize(
        "sample:digits", DATA, accuracy, output=tmp_path / "a", skip="type:Gemm", max_drop=0.1
    )
    assert {layer.name for layer in found.layers if not layer.is_quantized} == gemms()
    tuned = qir.tune("sample:digits", DATA, accuracy, output=tmp_path / "t", skip="type:Gemm", max_drop=0.1)
    assert {layer.name for layer in tuned.search.layers if not layer.is_quantized} == gemms()
