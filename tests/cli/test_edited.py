"""Precisions edited by hand in a calibrated graph: change its text, go on with the pipeline."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from opt_command import fail, succeed

from qir.frontends.onnx import read_model
from qir.models import load
from qir.runtime.session import Session

DATA = Path(__file__).parents[2] / "qir" / "samples" / "digits_calibration.npz"
CLOSE = "quantize-weights,calibrate,quantize-bias"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    with np.load(DATA) as arrays:
        np.savez(path, **{name: arrays[name][:8] for name in arrays.files})
    return path


@pytest.fixture
def calibrated(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "digits.qir"
    succeed("sample:digits", "-p", "default", "--target", "qdq", "--data", data, "-o", path)
    return path


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count == 1, pattern
    path.write_text(text)


def go_on(path: Path, data: Path) -> Path:
    closed = path.with_name("closed.qir")
    succeed(path, "-p", CLOSE, "--target", "qdq", "--data", data, "-o", closed)
    return closed


def noise(path: Path, data: Path) -> float:
    """Of the fake-quant model that the graph makes, against the float model, as the largest difference."""
    succeed(path, "--emit", "fake-quant", "--target", "qdq", "-o", path.with_suffix(".onnx"))
    with np.load(data) as arrays:
        feeds = dict(arrays)
    (exact,) = Session(load("sample:digits")).run(feeds).values()
    (found,) = Session(read_model(path.with_suffix(".onnx"))).run(feeds).values()
    return float(np.abs(found - exact).max())


def test_a_type_is_changed_and_the_pipeline_goes_on(calibrated: Path, data: Path) -> None:
    before = noise(calibrated, data)
    text = calibrated.read_text()
    layer = re.search(r'^  %\S+ = Conv "/a/a.0/Conv"\(%(\S+), %(\S+), %(\S+)\)', text, re.MULTILINE)
    assert layer is not None
    x, w, b = (re.escape(name) for name in layer.groups())
    old = re.search(rf"^  %{b} = .*$", text, re.MULTILINE)
    assert old is not None
    edit(
        calibrated,
        (rf"^(  %{x} = qir.quant\(.*!)i8<asym .*$", r"\1i16<asym>"),
        (
            rf"^(  %{w}) = qir.quant\(%(\S+)\)( : \S+!i8)<axis=0 .*$",
            r"\1.first = qir.quant(%\2)\3<axis=0>\n\1 = qir.quant(%\2, \1.first)\3<axis=0>",
        ),
    )
    closed = go_on(calibrated, data)
    text = closed.read_text()
    assert re.search(rf"^  %{x} = qir.quant\(\S+\) : \S+!i16<asym scale=", text, re.MULTILINE)
    assert re.search(rf"^  %{w} = qir.quant\(\S+, %{w}.first\) : \S+!i8<axis=0 scale=", text, re.MULTILINE)
    assert old.group(0) not in text, "the bias counts in steps of the new scales"
    assert before != noise(closed, data) < 1


def test_a_layer_becomes_float16(calibrated: Path, data: Path) -> None:
    layer = re.search(r'Gemm "/f2/Gemm"\(%(\S+), %(\S+), %(\S+)\)', calibrated.read_text())
    assert layer is not None
    x, w, _ = (re.escape(name) for name in layer.groups())
    for name in (x, w):
        edit(calibrated, (rf"^(  %{name} = qir.quant\(.*!)i8<.*$", r"\1f16"))
    closed = go_on(calibrated, data)
    text = closed.read_text()
    assert re.search(rf"^  %{x} = .*!f16<closed>$", text, re.MULTILINE)
    gemm = re.search(r'Gemm "/f2/Gemm"\(.*, %(\S+)\)', text)
    assert gemm is not None
    assert not re.search(rf"^  %{re.escape(gemm[1])} = qir.quant", text, re.MULTILINE), "a float bias"
    assert noise(closed, data) < 1


def test_what_is_left_open_is_named(calibrated: Path) -> None:
    edit(calibrated, (r"^(  %input.q = .*!)i8<asym .*$", r"\1i16<asym>"))
    message = fail(
        calibrated, "--emit", "fake-quant", "--target", "qdq", "-o", calibrated.with_suffix(".onnx")
    )
    assert "is to be quantized but has no scale yet; run calibrate before writing" in message
