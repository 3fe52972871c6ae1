"""Calibration data that do not fit: every slip is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sources import X, two_inputs, units_of
from small_graphs import conv_net

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.types import SequenceType, tensor
from qir.runtime.data import CalibrationData, open_data


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=X, labels=np.arange(12))
    return tmp_path / "data.npz"


BAD: list[tuple[Any, str]] = [
    ([{"images": X}], r"feed 0: 'images' is not an input of the model \(inputs: x\)"),
    ([{"X": X}], r"'X' is not an input of the model"),
    ({"x1": X}, r"'x1' is not an input of the model; did you mean 'x'\?"),
    ([{}], r"feed 0: no data for input 'x' \(given: none\)"),
    ({"labels": X}, r"no data for input 'x' \(given: labels\)"),
    ([{"x": X}, {"x": X[:, :2]}], r"feed 1: input 'x' expects f32\[N,3,8,8\], got shape \[12,2,8,8\]"),
    ([{"x": X[0]}], r"input 'x' expects f32\[N,3,8,8\], got shape \[3,8,8\]"),
    ({"x": X[:, :, 0]}, r"input 'x' expects f32\[N,3,8,8\], got shape \[12,3,8\]"),
    (
        {"x": X.astype(np.float64)},
        r"'x' expects float32, got float64; convert it with \.astype\(np\.float32\)",
    ),
    ([{"x": X.astype(np.uint8)}], r"feed 0: input 'x' expects float32, got uint8"),
    ([{"x": X.tolist()}], r"expects float32, got float64"),
    ([{"x": [[1.0], [1.0, 2.0]]}], r"feed 0: input 'x' is not an array"),
    ([{"x": np.array([object()])}], r"feed 0: input 'x' holds Python objects"),
    ([X], r"feed 0 is a ndarray, expected a dict .* \{'x': array\}"),
    (X, r"feed 0 is a ndarray, expected a dict"),
    ([], r"there are no samples"),
    (iter([]), r"there are no samples"),
    ({"x": X[:0]}, r"input 'x' has no samples"),
    ([{"x": X[:0]}], r"feed 0 has no samples"),
    (3, r"a int holds no samples; give an iterable"),
    (lambda: 3, r"gave a int, expected an iterable"),
    ("missing.npz", r"missing\.npz: there is no such file"),
    (
        "missing",
        r"missing does not exist; expected an \.npz or \.npy file, a folder of \.npy files",
    ),
    ("missing.py:f", r"missing\.py does not exist"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_slips(source: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        units_of(source, conv_net())


def test_slips_in_lists_and_arrays_show_before_any_run() -> None:
    for source in ([{"x": X}, {"x": X[:, :2]}], {"x": X[:, :2]}):
        with pytest.raises(CalibrationError):
            open_data(source, conv_net())


def test_different_numbers_of_samples() -> None:
    ids, mask = np.ones((4, 5), np.int64), np.ones((3, 5), np.float32)
    with pytest.raises(CalibrationError, match="different numbers of samples: 'ids' 4, 'mask' 3"):
        open_data({"ids": ids, "mask": mask}, two_inputs())


def test_int32_ids() -> None:
    arrays = {"ids": np.ones((4, 5), np.int32), "mask": np.ones((4, 5), np.float32)}
    with pytest.raises(CalibrationError, match=r"'ids' expects int64, got int32; .*astype\(np\.int64\)"):
        open_data(arrays, two_inputs())


def test_damaged_files(tmp_path: Path, npz: Path) -> None:
    graph = conv_net()
    (tmp_path / "cut.npz").write_bytes(npz.read_bytes()[:2000])
    with pytest.raises(CalibrationError, match=r"cut\.npz is not a readable \.npz file"):
        open_data(tmp_path / "cut.npz", graph)
    flipped = bytearray(npz.read_bytes())
    flipped[4000] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(CalibrationError, match=r"flipped\.npz: array 'x\.npy' is damaged"):
        units_of(tmp_path / "flipped.npz", graph)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], object), allow_pickle=True)
    with pytest.raises(CalibrationError, match="pickled"):
        open_data(tmp_path / "pickled.npz", graph)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.npy").write_bytes(b"no array")
    with pytest.raises(CalibrationError, match=r"x\.npy is not a readable \.npy file"):
        open_data(tmp_path / "f", graph)
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(CalibrationError, match="is no known kind of calibration data"):
        open_data(tmp_path / "text.txt", graph)


def test_unknown_file_in_a_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "labels.npy", np.arange(12))
    assert isinstance(open_data(tmp_path, conv_net()), CalibrationData)
    np.save(tmp_path / "xs.npy", X)
    with pytest.raises(CalibrationError, match="'xs' is not an input of the model; did you mean 'x'"):
        open_data(tmp_path, conv_net())


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.jpg").write_bytes(b"picture")
    with pytest.raises(
        CalibrationError, match=r"holds no \.npy files; expected x\.npy or .* pictures, are read"
    ):
        open_data(tmp_path, conv_net())
    with pytest.raises(CalibrationError, match=r"expected ids\.npy and mask\.npy or"):
        open_data(tmp_path, two_inputs())


def test_an_input_that_arrays_cannot_feed() -> None:
    graph = Graph("net", {"": 17})
    graph.add_output(
        graph.add("SequenceLength", [graph.add_input("s", SequenceType(tensor(DType.F32, [2])))]).output
    )
    with pytest.raises(CalibrationError, match=r"input 's' is seq\(f32\[2\]\)"):
        open_data([{"s": [X]}], graph)


def test_an_npz_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "big.npz", x=np.zeros((4096, 3, 8, 8), np.float32))
    sizes: list[int] = []
    read = np.frombuffer

    def watched(data: bytes, dtype: Any) -> np.ndarray:
        sizes.append(len(data))
        return read(data, dtype)

    monkeypatch.setattr(np, "frombuffer", watched)
    data = open_data(tmp_path / "big.npz", conv_net())
    assert sum(1 for _ in data.units(lambda feeds: {})) == 4096
    assert sizes == [3 * 8 * 8 * 4] * 4096
