"""External data: tensors of a model that lie in files beside it, read as memory maps."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from qir.ir.errors import ModelError


def location_of(proto: onnx.TensorProto) -> str:
    """The file, relative to the model's folder, that holds a tensor's data."""
    return next((entry.value for entry in proto.external_data if entry.key == "location"), "")


class ExternalData:
    """Reads the external data of one model, mapping each file once; no `folder`: the model was not a file."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._maps: dict[Path, npt.NDArray[np.uint8]] = {}

    def read(self, proto: onnx.TensorProto, where: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor, memory-mapped.

        Raises ModelError when the file is missing, too short, or lies outside the model's folder: a model
        must not be able to read the machine's other files.
        """
        location = location_of(proto)
        if self._folder is None:
            raise ModelError(
                f"{where} has its data in the file '{location}', but the model did not come from a file; "
                "read it by its path, or name the folder of its data"
            )
        path = resolve(location, where, self._folder)
        data = self._map(path, where)
        offset = _number(proto, "offset", 0, where)
        length = _number(proto, "length", max(data.size - offset, 0), where)
        if offset + length > data.size:
            raise ModelError(
                f"{where} has its data at bytes {offset} to {offset + length} of '{path}', "
                f"which has only {data.size}; the file is truncated or belongs to another model"
            )
        return data[offset : offset + length]

    def _map(self, path: Path, where: str) -> npt.NDArray[np.uint8]:
        if path not in self._maps:
            try:
                with path.open("rb") as file:
                    empty = file.seek(0, 2) == 0
                    held = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except FileNotFoundError:
                raise ModelError(
                    f"{where} has its data in '{path}', which does not exist; copy it beside the model"
                ) from None
            except OSError as error:
                raise ModelError(
                    f"{where} has its data in '{path}', which cannot be read: {error.strerror}"
                ) from None
            self._maps[path] = np.frombuffer(held, np.uint8)
        return self._maps[path]


def resolve(location: str, where: str, folder: Path) -> Path:
    """The file of a location; ModelError when it is empty or escapes the folder, also by symbolic links."""
    root = folder.resolve()
    path = (root / location).resolve()
    if not location or path == root or not path.is_relative_to(root):
        raise ModelError(
            f"{where} has its data in '{location}', outside the model's folder '{folder}'; "
            "external data must lie in the folder of the model or below it"
        )
    return path


def _number(proto: onnx.TensorProto, key: str, default: int, where: str) -> int:
    for entry in proto.external_data:
        if entry.key == key:
            if not entry.value.isdecimal():
                raise ModelError(f"{where} has '{entry.value}' as {key} of its external data, not a number")
            return int(entry.value)
    return default
