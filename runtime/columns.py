"""The data of one input on disk or in memory, read a few rows at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from qir.ir.errors import CalibrationError
from qir.runtime.units import Array


class Column(Protocol):
    """Rows along axis 0. `shapes` are those of its parts (one, except for several files)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Shapes of the parts."""

    def __len__(self) -> int:
        """Number of rows (a scalar has one)."""

    def blocks(self, rows: int) -> Iterator[Array]:
        """Consecutive blocks of `rows` rows, then nothing more (a short rest is left out); 0: all at once."""


class ArrayColumn:
    """An array in memory, or a memory-mapped one."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.dtype = array.dtype
        self.shapes = (array.shape,)

    def __len__(self) -> int:
        return self._array.shape[0] if self._array.ndim else 1

    def blocks(self, rows: int) -> Iterator[Array]:
        """Views of the array."""
        if rows == 0:
            yield self._array
            return
        for start in range(0, len(self) - rows + 1, rows):
            yield self._array[start : start + rows]


class ZipColumn:
    """One array of an .npz file, streamed: memory for one block, whether the file is compressed or not."""

    def __init__(self, path: Path, member: str) -> None:
        self._path, self._member = path, member
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            shape, self._fortran, self.dtype = _read_header(file, path, member)
        self.shapes = (shape,)

    def __len__(self) -> int:
        return self.shapes[0][0] if self.shapes[0] else 1

    def blocks(self, rows: int) -> Iterator[Array]:
        """Blocks read one after the other; CalibrationError when the file is damaged."""
        try:
            if rows == 0 or self._fortran:
                with np.load(self._path) as archive:
                    yield from ArrayColumn(archive[self._member.removesuffix(".npy")]).blocks(rows)
                return
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as file:
                _read_header(file, self._path, self._member)
                for _ in range(len(self) // rows):
                    yield self._read(file, (rows, *self.shapes[0][1:]))
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise CalibrationError(f"{self._path}: array '{self._member}' is damaged: {error}") from error

    def _read(self, file: IO[bytes], shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        data = file.read(size)
        if len(data) != size:
            raise EOFError("the file ends early")
        return np.frombuffer(data, self.dtype).reshape(shape)


def _read_header(file: IO[bytes], path: Path, member: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type of an array in .npy format; leaves `file` at its first element."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = readers[version](file)
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise CalibrationError(f"{path}: '{member}' is not a numpy array: {error}") from error
    if dtype.hasobject:
        raise CalibrationError(f"{path}: '{member}' holds pickled Python objects; save plain numbers instead")
    return tuple(shape), bool(fortran), dtype


def zip_names(path: Path) -> list[str]:
    """The names of the arrays in an .npz file; CalibrationError when it is no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [member.removesuffix(".npy") for member in archive.namelist()]
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: there is no such file") from error
    except (OSError, zipfile.BadZipFile) as error:
        raise CalibrationError(f"{path} is not a readable .npz file: {error}") from error


class FilesColumn:
    """Several .npy files in order, memory-mapped one at a time; shapes may differ from file to file.

    `rank` is that of the model's input: a file with one dimension less holds a single row.
    """

    def __init__(self, paths: Sequence[Path], rank: int | None) -> None:
        self._paths, self._rank = tuple(paths), rank
        arrays = [self._open(path) for path in self._paths]
        self.dtype = arrays[0].dtype
        self.shapes = tuple(array.shape for array in arrays)
        for path, array in zip(self._paths, arrays, strict=True):
            if array.dtype != self.dtype or array.ndim != arrays[0].ndim:
                raise CalibrationError(
                    f"{path} holds {array.dtype.name} of {array.ndim} dimensions, but {self._paths[0]} "
                    f"{self.dtype.name} of {arrays[0].ndim}; the files of one input must agree"
                )

    def _open(self, path: Path) -> Array:
        array = open_npy(path)
        return array[None] if self._rank is not None and array.ndim == self._rank - 1 else array

    def __len__(self) -> int:
        return sum(shape[0] if shape else 1 for shape in self.shapes)

    def blocks(self, rows: int) -> Iterator[Array]:
        """Views of mapped files; a block may gather rows of several."""
        if rows == 0:
            yield self._open(self._paths[0])
            return
        parts: list[Array] = []
        for path in self._paths:
            rest = self._open(path)
            while len(rest):
                missing = rows - sum(len(part) for part in parts)
                parts.append(rest[:missing])
                rest = rest[missing:]
                if len(parts[-1]) == missing:
                    yield parts[0] if len(parts) == 1 else self._joined(parts)
                    parts = []

    def _joined(self, parts: Sequence[Array]) -> Array:
        try:
            return np.concatenate(parts)
        except ValueError as error:
            raise CalibrationError(
                f"{self._paths[0].parent}: files of different shapes cannot make one batch: {error}"
            ) from error


def open_npy(path: Path) -> Array:
    """A memory-mapped .npy file; CalibrationError when it is not readable."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CalibrationError(f"{path} is not a readable .npy file: {error}") from error
    return array


def folder_files(folder: Path, names: Iterable[str]) -> dict[str, list[Path]]:
    """The files of a data folder: `NAME.npy`, or `NAME/*.npy` in the order of their names.

    `names` are those of the inputs; one that cannot be a file name may be written with `_` for every
    character other than letters, digits, `.`, `-` and `_`. Other files are listed under their own names,
    for the caller to judge.
    """
    found: dict[str, list[Path]] = {}
    for name in names:
        for stem in dict.fromkeys((_file_name(name), name)):
            found[name] = found.get(name) or _npy_files(folder, stem)
    used = {path for paths in found.values() for path in paths}
    for entry in sorted(folder.iterdir()):
        stem = entry.stem if entry.suffix == ".npy" else entry.name
        files = _npy_files(folder, stem)
        if stem not in found and not used.intersection(files):
            found[stem] = files
    return {name: paths for name, paths in found.items() if paths}


def _npy_files(folder: Path, stem: str) -> list[Path]:
    single = folder / f"{stem}.npy"
    return [single] if single.is_file() else sorted((folder / stem).glob("*.npy"))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
