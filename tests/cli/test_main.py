"""`qir quantize` as a user types it: tables, files, and one clear message for every kind of bad input."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from qir.cli.main import main
from qir.samples import sample_named

SAMPLE = sample_named("digits")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words])


def assert_one_message(result: Result, *parts: str, code: int = 1) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: " if code == 1 else "Usage:"), result.stderr
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr, result.stderr


def test_sample_prints_tables_and_both_accuracies(tmp_path: Path) -> None:
    result = run("quantize", "sample:digits", "-o", tmp_path / "out" / "digits")
    assert result.exit_code == 0, result.output
    for part in ("Conv", "100.0 %", "cosine", "SQNR", "FP32 0.98", "fake-quant 0.98", "smaller"):
        assert part in result.stdout
    cost = r"^took [\d.]+ s \(calibrate [\d.]+ s, .*prove [\d.]+ s\), peak memory \d+ MB$"
    assert re.search(cost, result.stdout, re.M)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "digits_deploy_model.onnx",
        "digits_fake_quant_model.onnx",
        "digits_quant.json",
        "digits_record.txt",
        "digits_report.json",
    ]


def test_quiet_says_nothing(tmp_path: Path) -> None:
    result = run("quantize", "sample:digits", "-o", tmp_path / "digits", "--quiet", "--method", "min-max")
    assert result.exit_code == 0
    assert result.output == ""


def broken(kind: str, tmp_path: Path) -> tuple[Path, str]:
    """A model file with something wrong, and a part of the message."""
    path = tmp_path / "model.onnx"
    model = onnx.load(SAMPLE.model)
    if kind == "missing":
        return path, "does not exist"
    if kind == "extension":
        path = tmp_path / "model.tflite"
        path.write_bytes(b"x")
        return path, "unknown extension '.tflite'"
    if kind == "garbage":
        path.write_bytes(b"this is not a model at all" * 9)
        return path, "model.onnx"
    if kind == "empty":
        path.write_bytes(b"")
        return path, "empty"
    if kind == "truncated":
        path.write_bytes(SAMPLE.model.read_bytes()[:100_000])
        return path, "model.onnx"
    if kind == "external":
        onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        (tmp_path / "weights.bin").unlink()
        return path, "weights.bin"
    if kind == "cycle":
        conv, bn = model.graph.node[0], model.graph.node[1]
        conv.input[0] = bn.output[0]
        onnx.save(model, path)
        return path, "cycle"
    if kind == "quantized":
        model.graph.node[0].op_type = "AscendQuant"
        onnx.save(model, path)
        return path, "already quantized"
    raise AssertionError(kind)


KINDS = ("missing", "extension", "garbage", "empty", "truncated", "external", "cycle", "quantized")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_models(kind: str, tmp_path: Path) -> None:
    path, part = broken(kind, tmp_path)
    before = path.read_bytes() if path.exists() else None
    result = run("quantize", path, "--data", SAMPLE.calibration, "-o", tmp_path / "q")
    assert_one_message(result, part)
    assert not list(tmp_path.glob("q*"))
    assert (path.read_bytes() if path.exists() else None) == before


def saved(tmp_path: Path, **arrays: np.ndarray) -> Path:
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


def good(count: int = 4) -> np.ndarray:
    return np.full((count, 1, 16, 16), 0.5, np.float32)


def with_nan() -> np.ndarray:
    data = good()
    data[2, 0, 3, 3] = np.nan
    return data


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"inptu": good()}, ("inptu", "did you mean 'input'")),
        ({"input": good().astype(np.float64)}, ("input", "float64", "float32")),
        ({"input": good()[:, :, :8]}, ("input", "16")),
        ({"input": good()[:0]}, ("no samples",)),
        ({"input": with_nan()}, ("'input'", "sample 2")),
    ],
)
def test_bad_data(arrays: dict[str, np.ndarray], parts: tuple[str, ...], tmp_path: Path) -> None:
    result = run("quantize", SAMPLE.model, "--data", saved(tmp_path, **arrays), "-o", tmp_path / "q")
    assert_one_message(result, *parts)
    assert not list(tmp_path.glob("q*"))


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--pipeline", "fuse-nb"), ("fuse-nb", "fuse-bn", "^")),
        (("--pipeline", "insert-quant{bit=8}"), ("bits",)),
        (("--skip", "/a/a.0/Covn"), ("did you mean '/a/a.0/Conv'",)),
        (("--skip", "/a/a.1/BatchNormalization"), ("folded into layer '/a/a.0/Conv'",)),
        (("--target", "ascent"), ("did you mean 'ascend'",)),
    ],
)
def test_bad_options(words: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path) -> None:
    result = run(
        "quantize", SAMPLE.model, "--data", saved(tmp_path, input=good()), "-o", tmp_path / "q", *words
    )
    assert_one_message(result, *parts)


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    assert_one_message(run("quantize", SAMPLE.model), "-o", code=2)
    assert_one_message(
        run("quantize", SAMPLE.model, "-o", tmp_path / "q", "--method", "x"), "--method", code=2
    )


def test_data_are_asked_for(tmp_path: Path) -> None:
    assert_one_message(run("quantize", SAMPLE.model, "-o", tmp_path / "q"), "--data")


def test_output_folder(tmp_path: Path) -> None:
    words = ("quantize", "sample:digits", "-o")
    assert_one_message(run(*words, tmp_path / "no" / "such" / "q"), "does not exist")
    (tmp_path / "file").write_text("")
    assert_one_message(run(*words, tmp_path / "file" / "q"), "file")
    assert not (tmp_path / "no").exists()
