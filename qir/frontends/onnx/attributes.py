"""Attributes of ONNX nodes to attributes of the IR and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from qir.frontends.onnx.external import ExternalData
from qir.frontends.onnx.tensors import read_sparse, read_tensor, write_tensor
from qir.frontends.onnx.types import read_type, write_type
from qir.ir.constant import Constant
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList
from qir.ir.types import MapType, OptionalType, SequenceType, SparseTensorType, TensorType

FLOAT, INT, STRING, TENSOR, GRAPH, SPARSE_TENSOR, TYPE_PROTO = 1, 2, 3, 4, 5, 11, 13
FLOATS, INTS, STRINGS, TENSORS, GRAPHS, SPARSE_TENSORS, TYPE_PROTOS = 6, 7, 8, 9, 10, 12, 14
"""AttributeProto.AttributeType numbers."""

_FIELDS = {
    "f": FLOAT,
    "i": INT,
    "s": STRING,
    "t": TENSOR,
    "g": GRAPH,
    "sparse_tensor": SPARSE_TENSOR,
    "tp": TYPE_PROTO,
    "floats": FLOATS,
    "ints": INTS,
    "strings": STRINGS,
    "tensors": TENSORS,
    "graphs": GRAPHS,
    "sparse_tensors": SPARSE_TENSORS,
    "type_protos": TYPE_PROTOS,
}
SPARSE_KINDS = (SPARSE_TENSOR, SPARSE_TENSORS)
_EMPTY = {
    FLOATS: "floats",
    INTS: "ints",
    STRINGS: "strings",
    TENSORS: "tensors",
    GRAPHS: "graphs",
    SPARSE_TENSORS: "sparse_tensors",
    TYPE_PROTOS: "types",
}
_KINDS = {word: kind for kind, word in _EMPTY.items()}
_TYPES = (TensorType, SparseTensorType, SequenceType, OptionalType, MapType)


def kind_of(proto: onnx.AttributeProto) -> int:
    """The kind of an attribute; where the model leaves it out, as old exporters do, that of the field in use."""
    if proto.type:
        return int(proto.type)
    return next((_FIELDS[f.name] for f, _ in proto.ListFields() if f.name in _FIELDS), INTS)


def read_attribute(
    proto: onnx.AttributeProto,
    place: str,
    external: ExternalData,
    read_graph: Callable[[onnx.GraphProto], Graph],
) -> Attribute:
    """An attribute; sparse tensors become dense constants, and `read_graph` reads subgraphs."""
    kind = kind_of(proto)
    if kind in _EMPTY:
        return _read_list(proto, kind, place, external, read_graph)
    if kind == FLOAT:
        return proto.f
    if kind == INT:
        return proto.i
    if kind == STRING:
        return _text(proto.s)
    if kind == TENSOR:
        return read_tensor(proto.t, place, external)
    if kind == GRAPH:
        return read_graph(proto.g)
    if kind == SPARSE_TENSOR:
        return read_sparse(proto.sparse_tensor, place, external)
    if kind == TYPE_PROTO:
        return read_type(proto.tp, place)
    raise ModelError(f"{place} is of kind number {kind}, which ONNX does not define")


def _read_list(
    proto: onnx.AttributeProto,
    kind: int,
    place: str,
    external: ExternalData,
    read_graph: Callable[[onnx.GraphProto], Graph],
) -> Attribute:
    found: Attribute
    if kind == FLOATS:
        found = tuple(proto.floats)
    elif kind == INTS:
        found = tuple(proto.ints)
    elif kind == STRINGS:
        found = tuple(_text(s) for s in proto.strings)
    elif kind == TENSORS:
        found = tuple(read_tensor(t, place, external) for t in proto.tensors)
    elif kind == GRAPHS:
        found = tuple(read_graph(g) for g in proto.graphs)
    elif kind == SPARSE_TENSORS:
        found = tuple(read_sparse(t, place, external) for t in proto.sparse_tensors)
    else:
        found = tuple(read_type(t, place) for t in proto.type_protos)
    return found or EmptyList(_EMPTY[kind])


def _text(data: bytes) -> str | bytes:
    """Strings of ONNX are bytes; nearly all of them are UTF-8 text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def write_attribute(
    item: Attribute,
    proto: onnx.AttributeProto,
    write_graph: Callable[[Graph, onnx.GraphProto], None],
) -> None:
    """Fill `proto`, whose name is set, with an attribute; `write_graph` writes subgraphs."""
    if isinstance(item, tuple):
        _write_list(item, proto, write_graph)
    elif isinstance(item, float):
        proto.type, proto.f = FLOAT, item
    elif isinstance(item, int):
        proto.type, proto.i = INT, item
    elif isinstance(item, (str, bytes)):
        proto.type, proto.s = STRING, _bytes(item)
    elif isinstance(item, Constant):
        proto.type = TENSOR
        write_tensor(item, proto.t)
    elif isinstance(item, Graph):
        proto.type = GRAPH
        write_graph(item, proto.g)
    else:
        proto.type = TYPE_PROTO
        proto.tp.SetInParent()
        write_type(item, proto.tp)


def _write_list(
    items: tuple[object, ...],
    proto: onnx.AttributeProto,
    write_graph: Callable[[Graph, onnx.GraphProto], None],
) -> None:
    first = items[0] if items else None
    if isinstance(items, EmptyList):
        proto.type = _KINDS.get(items.kind, INTS)
    elif first is None or all(isinstance(x, int) for x in items):
        proto.type = INTS
        proto.ints.extend(x for x in items if isinstance(x, int))
    elif isinstance(first, (int, float)):
        proto.type = FLOATS
        proto.floats.extend(x for x in items if isinstance(x, (int, float)))
    elif isinstance(first, (str, bytes)):
        proto.type = STRINGS
        proto.strings.extend(_bytes(x) for x in items if isinstance(x, (str, bytes)))
    elif isinstance(first, Constant):
        proto.type = TENSORS
        for x in items:
            if isinstance(x, Constant):
                write_tensor(x, proto.tensors.add())
    elif isinstance(first, Graph):
        proto.type = GRAPHS
        for x in items:
            if isinstance(x, Graph):
                write_graph(x, proto.graphs.add())
    else:
        proto.type = TYPE_PROTOS
        for x in items:
            if isinstance(x, _TYPES):
                write_type(x, proto.type_protos.add())


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


CONSTANT_FORMS: Mapping[str, str] = {
    "value": "a tensor",
    "sparse_value": "a sparse tensor",
    "value_float": "a float",
    "value_floats": "floats",
    "value_int": "an integer",
    "value_ints": "integers",
    "value_string": "a string",
    "value_strings": "strings",
}
"""The attributes of ONNX's Constant op, of which each node has exactly one."""


def constant_value(key: str, item: Attribute) -> Constant:
    """The tensor that a Constant node with attribute `key` produces."""
    if isinstance(item, Constant):
        return item
    if key in ("value_float", "value_floats"):
        return Constant.of(np.asarray(item, np.float32))
    if key in ("value_int", "value_ints"):
        return Constant.of(np.asarray(item, np.int64))
    texts = [_bytes(x) for x in (item if isinstance(item, tuple) else (item,)) if isinstance(x, (str, bytes))]
    flat = np.empty(len(texts), object)
    flat[:] = texts
    return Constant.of(flat if isinstance(item, tuple) else flat.reshape(()))
