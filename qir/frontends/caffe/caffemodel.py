"""Reads a caffemodel: the blobs of each layer by name. All that is not names and blobs is skipped.

The file is mapped and its layers are decoded one by one, so that it is in memory once. The numbers of a blob
are declared as bytes, which is what a packed field looks like in the file: they become arrays without a
Python object for each.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.message import DecodeError

from qir.frontends.caffe.wire import split_fields
from qir.ir.errors import ModelError

Blob = npt.NDArray[np.float32]
_Field = descriptor_pb2.FieldDescriptorProto
_BYTES, _INT, _MESSAGE = _Field.TYPE_BYTES, _Field.TYPE_INT64, _Field.TYPE_MESSAGE
_PACKAGE = "qir.caffemodel"
_HDF5 = b"\x89HDF"
_V1 = 2
_LAYER_FIELDS = {100: "Layer", _V1: "V1Layer"}
_LEGACY_DIMENSIONS = ("num", "channels", "height", "width")
# message -> (field, number, type, message or "", repeated)
_MESSAGES: Mapping[str, Sequence[tuple[str, int, int, str, bool]]] = {
    "Layer": (("name", 1, _BYTES, "", False), ("blobs", 7, _MESSAGE, "Blob", True)),
    "V1Layer": (
        ("layer", 1, _MESSAGE, "V0Layer", False),
        ("name", 4, _BYTES, "", False),
        ("blobs", 6, _MESSAGE, "Blob", True),
    ),
    "V0Layer": (("name", 1, _BYTES, "", False), ("blobs", 50, _MESSAGE, "Blob", True)),
    "Shape": (("dim", 1, _INT, "", True),),
    "Blob": (
        *((name, i, _INT, "", False) for i, name in enumerate(_LEGACY_DIMENSIONS, 1)),
        ("data", 5, _BYTES, "", True),
        ("shape", 7, _MESSAGE, "Shape", False),
        ("double_data", 8, _BYTES, "", True),
    ),
}


def read_weights(path: str | os.PathLike[str]) -> dict[str, tuple[Blob, ...]]:
    """The blobs of each layer that has any, as float32 arrays; ModelError for a file that is damaged."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            if not file.stat().st_size:
                raise ModelError(f"'{file}' is empty, not a caffemodel")
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)  # closed when nobody reads it
        return parse_weights(memoryview(mapped), f"'{file}'")
    except FileNotFoundError:
        raise ModelError(f"caffemodel '{file}' does not exist") from None
    except OSError as error:
        raise ModelError(f"caffemodel '{file}' cannot be read: {error.strerror}") from None


def parse_weights(data: bytes | memoryview, origin: str = "the caffemodel") -> dict[str, tuple[Blob, ...]]:
    """As `read_weights`, of the bytes of a file. ModelError for bytes of another kind."""
    if bytes(data[:4]) == _HDF5:
        raise ModelError(f"{origin} is an HDF5 file; save the weights as a binary protobuf (.caffemodel)")
    found: dict[str, tuple[Blob, ...]] = {}
    for name, blobs in _layers(data, origin):
        if len(blobs) and name not in found:  # Caffe takes the first of two layers of one name
            found[name] = tuple(
                _array(b, f"{origin}: blob {i} of layer '{name}'") for i, b in enumerate(blobs)
            )
    return found


@cache
def _layer_class(name: str) -> type[message.Message]:
    file = descriptor_pb2.FileDescriptorProto(name="qir/caffemodel.proto", package=_PACKAGE)
    for kind_name, fields in _MESSAGES.items():
        made = file.message_type.add(name=kind_name)
        for field, number, kind, target, repeated in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            added = made.field.add(name=field, number=number, label=label)
            added.type = _Field.Type.ValueType(kind)
            if target:
                added.type_name = f".{_PACKAGE}.{target}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type[message.Message] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    )
    return found


def _layers(data: bytes | memoryview, origin: str) -> Iterator[tuple[str, Sequence[Any]]]:
    """Name and blobs of each layer, in whichever of the three forms that Caffe has had."""
    empty = True
    try:
        for number, part in split_fields(data):
            if number not in _LAYER_FIELDS:
                continue
            empty = False
            layer: Any = _layer_class(_LAYER_FIELDS[number])()
            layer.ParseFromString(part)
            holder = layer.layer if number == _V1 and layer.HasField("layer") else layer
            yield holder.name.decode(errors="replace"), layer.blobs or holder.blobs
    except DecodeError:
        raise ModelError(f"{origin} is not a caffemodel, or is damaged (truncated?)") from None
    if empty:
        raise ModelError(f"{origin} is not a caffemodel: it has no layers")


def _array(blob: Any, where: str) -> Blob:  # noqa: ANN401
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    elif any(blob.HasField(name) for name in _LEGACY_DIMENSIONS):
        shape = tuple(getattr(blob, name) for name in _LEGACY_DIMENSIONS)
    else:
        shape = ()
    narrow, wide = b"".join(blob.data), b"".join(blob.double_data)
    if len(narrow) % 4 or len(wide) % 8:
        raise ModelError(f"{where} is damaged: its bytes are no whole numbers")
    numbers: Blob = np.frombuffer(narrow, "<f4") if narrow else np.frombuffer(wide, "<f8").astype(np.float32)
    if numbers.size != prod(shape):
        raise ModelError(
            f"{where} has {numbers.size} numbers, but shape {list(shape)}; the file is damaged, or stores "
            "numbers in a form of its own"
        )
    return np.ascontiguousarray(numbers, np.float32).reshape(shape)
