"""`qir calibrate` and `qir quantize --stats` as a user types them."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="module")
def stats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stats") / "stats.npz"
    result = run("calibrate", SAMPLE.model, "--data", SAMPLE.calibration, "-o", path)
    assert result.exit_code == 0, result.output
    for part in ("tensor", "minimum", "input", "8 tensors, 96 samples", f"wrote {path}"):
        assert part in result.stdout, result.stdout
    return path


def test_files_from_statistics_are_those_from_data(stats: Path, tmp_path: Path) -> None:
    words = ("quantize", SAMPLE.model, "--method", "kl", "--quiet")
    assert run(*words, "--data", SAMPLE.calibration, "-o", tmp_path / "data" / "net").exit_code == 0
    assert run(*words, "--stats", stats, "-o", tmp_path / "stats" / "net").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names.pop() == "net_report.json"  # outputs are compared on data only
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "stats" / name).read_bytes() == (tmp_path / "data" / name).read_bytes()


def test_without_data_it_says_what_was_not_done(stats: Path, tmp_path: Path) -> None:
    result = run("quantize", SAMPLE.model, "--stats", stats, "-o", tmp_path / "net")
    assert result.exit_code == 0, result.output
    assert "note: there were statistics but no data: nothing was compared" in result.stdout
    assert "SQNR" not in result.stdout
    both = run("quantize", "sample:digits", "--stats", stats, "-o", tmp_path / "net")
    assert both.exit_code == 0, both.output
    assert "SQNR" in both.stdout


def test_slips(stats: Path, tmp_path: Path) -> None:
    own = Path(shutil.copy(SAMPLE.calibration, tmp_path))  # where one may write
    data = ("--data", own)
    for words, part in (
        (("calibrate", SAMPLE.model, "-o", tmp_path / "s.npz"), "no data; give --data"),
        (("calibrate", SAMPLE.model, *data, "-o", tmp_path / "s.txt"), "must end in .npz"),
        (("calibrate", SAMPLE.model, *data, "-o", tmp_path / "no" / "s.npz"), "does not exist"),
        (("calibrate", SAMPLE.model, *data, "-o", own), "an input is never overwritten"),
        (("calibrate", SAMPLE.model, *data, "-o", tmp_path / "s.npz", "--pipeline", "qdq"), "no calibrate"),
        (("quantize", SAMPLE.model, "-o", tmp_path / "net"), "no data"),
        (
            ("quantize", SAMPLE.model, "--stats", tmp_path / "x.npz", "-o", tmp_path / "net"),
            "x.npz' does not",
        ),
        (("quantize", SAMPLE.model, "--stats", SAMPLE.calibration, "-o", tmp_path / "net"), "go to --data"),
        (
            ("quantize", other_weights(tmp_path), "--stats", stats, "-o", tmp_path / "net"),
            "'/f2/Gemm' have changed",
        ),
    ):
        result = run(*words)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert part in result.stderr, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"other.onnx", own.name}


def other_weights(folder: Path) -> Path:
    model = onnx.load(SAMPLE.model)
    name = next(n.input[1] for n in model.graph.node if n.name == "/f2/Gemm")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1.01), name))
    onnx.save(model, folder / "other.onnx")
    return folder / "other.onnx"


def test_a_generator_that_raises(tmp_path: Path) -> None:
    code = (
        "import numpy as np\ndef feeds():\n    yield {'input': np.zeros((1, 1, 16, 16), np.float32)}\n"
        "    raise OSError('disk gone')\n"
    )
    (tmp_path / "data.py").write_text(code)
    words = ("calibrate", SAMPLE.model, "--data", f"{tmp_path / 'data.py'}:feeds", "-o", tmp_path / "s.npz")
    result = run(*words)
    assert result.exit_code == 1
    assert "data.py:feeds raised OSError: disk gone (after 1 feeds)" in result.stderr
    assert "Traceback" not in result.stderr
    shown = run(*words, "--debug")
    assert "line 4, in feeds" in shown.stderr
    assert not (tmp_path / "s.npz").exists()
