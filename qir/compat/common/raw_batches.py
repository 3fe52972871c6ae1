"""Calibration data of AMCT's command line: raw `.bin` files, one file a batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from qir.compat.common.errors import CompatRuntimeError, CompatValueError
from qir.ir.errors import did_you_mean
from qir.runtime.units import Array

_TYPES = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool",
)  # fmt: skip


def parse_input_shape(text: str) -> dict[str, tuple[int, ...]]:
    """`"name:1,3,224,224;name2:-1,4"` as name -> shape; one dimension of each may be -1.

    CompatValueError names the part that is no such text.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in filter(None, (item.strip() for item in text.split(";"))):
        name, _, dims = part.rpartition(":")
        try:
            shape = tuple(int(dim) for dim in dims.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or any(dim < 1 and dim != -1 for dim in shape) or shape.count(-1) > 1:
            raise CompatValueError(f"input_shape '{part}' should be 'name:1,3,224,224', with one -1 at most")
        if name in found:
            raise CompatValueError(f"input_shape has input '{name}' twice")
        found[name] = shape
    if not found:
        raise CompatValueError(f"input_shape '{text}' names no input; give 'name:1,3,224,224;name2:…'")
    return found


def process_data_shape(values: str) -> dict[str, list[int]]:
    """As `parse_input_shape`, by AMCT's name and with lists."""
    return {name: list(shape) for name, shape in parse_input_shape(values).items()}


def process_multi_data_path(values: str) -> list[str]:
    """`"data/a/;data/b/"` as absolute paths, by AMCT's name."""
    return [os.path.realpath(path) for path in values.split(";")]


def load_data(
    input_shape: Mapping[str, Sequence[int]],
    data_dir: Sequence[str],
    data_types: Sequence[str],
    batch_num: int,
) -> Iterator[dict[str, Array]]:
    """The first `batch_num` batches as name -> array, read one at a time.

    Folders and element types belong to the inputs in the order of `input_shape`; the files of each folder are
    taken by ascending name. CompatRuntimeError or CompatValueError, naming folder or file, for data that do
    not fit; all but the sizes of files is checked before the first batch.
    """
    for what, given in (("data_dir", data_dir), ("data_types", data_types)):
        if len(given) != len(input_shape):
            raise CompatValueError(
                f"{what} must have one entry for each of the {len(input_shape)} inputs, separated by ';', "
                f"not {len(given)}"
            )
    types = [_type(name) for name in data_types]
    files = [_files(folder, batch_num) for folder in data_dir]
    return (
        {
            name: _read(paths[i], dtype, tuple(shape))
            for (name, shape), paths, dtype in zip(input_shape.items(), files, types, strict=True)
        }
        for i in range(batch_num)
    )


def _type(name: str) -> np.dtype[np.generic]:
    if name not in _TYPES:
        raise CompatValueError(
            f"data_types: there is no type '{name}'{did_you_mean(name, _TYPES)}; known: {', '.join(_TYPES)}"
        )
    return np.dtype(name)


def _files(folder: str, batch_num: int) -> list[Path]:
    path = Path(folder)
    if not path.is_dir():
        raise CompatRuntimeError(f"data_dir '{folder}' is no folder")
    found = sorted((p for p in path.iterdir() if p.suffix == ".bin" and p.is_file()), key=lambda p: p.name)
    if len(found) < batch_num:
        raise CompatRuntimeError(
            f"data_dir '{folder}' has {len(found)} .bin files, one a batch, but batch_num is {batch_num}"
        )
    return found


def _read(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    try:
        values = np.fromfile(path, dtype)
        size = path.stat().st_size
    except OSError as error:
        raise CompatRuntimeError(f"'{path}' cannot be read: {error.strerror}") from error
    known = int(np.prod([dim for dim in shape if dim != -1]))
    fits = values.size % known == 0 and values.size > 0 if -1 in shape else values.size == known
    if not fits or size % dtype.itemsize:
        wanted = f"{'a multiple of ' if -1 in shape else ''}{known * dtype.itemsize} bytes"
        raise CompatRuntimeError(
            f"'{path}' has {size} bytes, expected {wanted} for {dtype.name}{list(shape)}"
        )
    return values.reshape(shape)
