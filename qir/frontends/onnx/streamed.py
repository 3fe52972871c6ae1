"""Writes models to files with the data of large initializers straight from memory.

The bytes are those of `ModelProto.SerializeToString(deterministic=True)`, which would copy all weights three
times over: into the message, into its bytes, into the file. Fields of a message stand in the order of their
numbers, so the graph is put together of what stands before its initializers, these, and what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, TypeAlias

import numpy as np
import onnx

from qir.frontends.onnx.tensors import describe_tensor, little_endian, write_tensor
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph

_LARGE = 1 << 16  # bytes from which on a copy costs more than a piece of its own
_GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
_INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
_RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
_BYTES = 2  # the wire type of what has a length: bytes and messages

Message: TypeAlias = "onnx.ModelProto | onnx.GraphProto"
Piece: TypeAlias = "bytes | memoryview"


class Detached:
    """The data of large initializers of one graph, which `write_model` puts where they belong.

    Of a graph with subgraphs, and of types that numpy lacks, nothing is detached.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = None if any(node.subgraphs for node in graph.nodes) else graph
        self.data: dict[str, Constant] = {}

    def store(self, constant: Constant, proto: onnx.TensorProto, name: str) -> None:
        """Fill `proto`, without its data where they are to come from memory."""
        plain = constant.dtype.numpy is not None and constant.dtype is not DType.STR
        if self._graph is None or not plain or constant.data.nbytes < _LARGE:
            write_tensor(constant, proto, name)
            return
        describe_tensor(constant, proto, name)
        self.data[name] = constant


def write_model(model: onnx.ModelProto, data: Mapping[str, Constant], file: IO[bytes]) -> None:
    """Write a model whose initializers lack the `data`; `model` is used up."""
    pieces = [piece for tensor in model.graph.initializer for piece in _initializer(tensor, data)]
    model.graph.ClearField("initializer")
    before, after = _around(model.graph, _INITIALIZER)
    within = [before, *pieces, after]
    model.ClearField("graph")
    head, tail = _around(model, _GRAPH)
    for piece in (head, _start(_GRAPH, sum(map(len, within))), *within, tail):
        file.write(piece)


def _initializer(tensor: onnx.TensorProto, data: Mapping[str, Constant]) -> Iterator[Piece]:
    start = tensor.SerializeToString(deterministic=True)
    if tensor.name not in data:
        yield _start(_INITIALIZER, len(start))
        yield start
        return
    array = np.ascontiguousarray(little_endian(data[tensor.name]))
    raw = array.reshape(-1).view(np.uint8).data
    length = _start(_RAW_DATA, len(raw))
    yield _start(_INITIALIZER, len(start) + len(length) + len(raw))
    yield start + length  # what follows raw_data is never set
    yield raw


def _around(message: Message, number: int) -> tuple[Piece, Piece]:
    """The fields of a message before and behind those with that number, of which it has none."""
    data = memoryview(message.SerializeToString(deterministic=True))
    at = 0
    while at < len(data):
        key, behind = _read_varint(data, at)
        if key >> 3 > number:
            break
        size, behind = _read_varint(data, behind)
        at = behind + (size if key & 7 == _BYTES else 0)  # the other fields there are whole numbers
    return data[:at], data[at:]


def _start(number: int, length: int) -> bytes:
    """What stands before a field of that number: its key, and its length as a varint."""
    return bytes([number << 3 | _BYTES]) + _varint(length)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that stands at a place, and the place behind it."""
    value = shift = 0
    while data[at] > 0x7F:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
