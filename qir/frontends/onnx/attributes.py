"""Attributes of ONNX nodes to attributes of the IR and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import onnx

from qir.frontends.onnx.external import ExternalData
from qir.frontends.onnx.tensors import read_sparse, read_tensor, write_sparse, write_tensor
from qir.frontends.onnx.types import read_type, write_type
from qir.ir.constant import Constant
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList
from qir.ir.types import MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type

_Kind = onnx.AttributeProto
_FIELDS = {
    "f": _Kind.FLOAT,
    "i": _Kind.INT,
    "s": _Kind.STRING,
    "t": _Kind.TENSOR,
    "g": _Kind.GRAPH,
    "sparse_tensor": _Kind.SPARSE_TENSOR,
    "tp": _Kind.TYPE_PROTO,
    "floats": _Kind.FLOATS,
    "ints": _Kind.INTS,
    "strings": _Kind.STRINGS,
    "tensors": _Kind.TENSORS,
    "graphs": _Kind.GRAPHS,
    "sparse_tensors": _Kind.SPARSE_TENSORS,
    "type_protos": _Kind.TYPE_PROTOS,
}
SPARSE_KINDS = (_Kind.SPARSE_TENSOR, _Kind.SPARSE_TENSORS)
_EMPTY = {
    _Kind.FLOATS: "floats",
    _Kind.INTS: "ints",
    _Kind.STRINGS: "strings",
    _Kind.TENSORS: "tensors",
    _Kind.GRAPHS: "graphs",
    _Kind.SPARSE_TENSORS: "sparse_tensors",
    _Kind.TYPE_PROTOS: "types",
}
_KINDS = {word: kind for kind, word in _EMPTY.items()}
T = TypeVar("T")
_TEXTS: tuple[type[str | bytes], ...] = (str, bytes)
_NUMBERS: tuple[type[float], ...] = (float, int)
_TYPES: tuple[type[Type], ...] = (TensorType, SparseTensorType, SequenceType, OptionalType, MapType)


def kind_of(proto: onnx.AttributeProto) -> onnx.AttributeProto.AttributeType:
    """The kind of an attribute; where the model leaves it out, as old ones do, that of the field in use."""
    if proto.type:
        return proto.type
    return next((_FIELDS[f.name] for f, _ in proto.ListFields() if f.name in _FIELDS), _Kind.INTS)


def read_attribute(
    proto: onnx.AttributeProto,
    place: str,
    external: ExternalData,
    read_graph: Callable[[onnx.GraphProto], Graph],
) -> Attribute:
    """An attribute; sparse tensors become dense constants, and `read_graph` reads subgraphs.

    ModelError for a kind that ONNX does not define.
    """
    kind = kind_of(proto)
    if kind in _EMPTY:
        return _read_list(proto, kind, place, external, read_graph)
    if kind == _Kind.FLOAT:
        return proto.f
    if kind == _Kind.INT:
        return proto.i
    if kind == _Kind.STRING:
        return _text(proto.s)
    if kind == _Kind.TENSOR:
        return read_tensor(proto.t, place, external)
    if kind == _Kind.GRAPH:
        return read_graph(proto.g)
    if kind == _Kind.SPARSE_TENSOR:
        return read_sparse(proto.sparse_tensor, place, external)
    if kind == _Kind.TYPE_PROTO:
        return read_type(proto.tp, place)
    raise ModelError(f"{place} is of kind number {kind}, which ONNX does not define")


def _read_list(
    proto: onnx.AttributeProto,
    kind: onnx.AttributeProto.AttributeType,
    place: str,
    external: ExternalData,
    read_graph: Callable[[onnx.GraphProto], Graph],
) -> Attribute:
    found: Attribute
    if kind == _Kind.FLOATS:
        found = tuple(proto.floats)
    elif kind == _Kind.INTS:
        found = tuple(proto.ints)
    elif kind == _Kind.STRINGS:
        found = tuple(_text(s) for s in proto.strings)
    elif kind == _Kind.TENSORS:
        found = tuple(read_tensor(t, place, external) for t in proto.tensors)
    elif kind == _Kind.GRAPHS:
        found = tuple(read_graph(g) for g in proto.graphs)
    elif kind == _Kind.SPARSE_TENSORS:
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
    *,
    sparse: bool = False,
) -> None:
    """Fill `proto`, whose name is set, with an attribute.

    `write_graph` writes subgraphs; `sparse` makes tensors sparse ones. ModelError for a list of mixed kinds.
    """
    if isinstance(item, tuple):
        _write_list(item, proto, write_graph, sparse)
    elif isinstance(item, float):
        proto.type, proto.f = _Kind.FLOAT, item
    elif isinstance(item, int):
        proto.type, proto.i = _Kind.INT, item
    elif isinstance(item, (str, bytes)):
        proto.type, proto.s = _Kind.STRING, _bytes(item)
    elif isinstance(item, Constant):
        proto.type = _Kind.SPARSE_TENSOR if sparse else _Kind.TENSOR
        if sparse:
            write_sparse(item, proto.sparse_tensor)
        else:
            write_tensor(item, proto.t)
    elif isinstance(item, Graph):
        proto.type = _Kind.GRAPH
        write_graph(item, proto.g)
    else:
        proto.type = _Kind.TYPE_PROTO
        write_type(item, proto.tp)


def _write_list(
    items: tuple[object, ...],
    proto: onnx.AttributeProto,
    write_graph: Callable[[Graph, onnx.GraphProto], None],
    sparse: bool,
) -> None:
    if not items:
        proto.type = _KINDS[items.kind] if isinstance(items, EmptyList) else _Kind.INTS
    elif ints := _all(items, int):
        proto.type = _Kind.INTS
        proto.ints.extend(ints)
    elif floats := _all(items, _NUMBERS):
        proto.type = _Kind.FLOATS
        proto.floats.extend(floats)
    elif texts := _all(items, _TEXTS):
        proto.type = _Kind.STRINGS
        proto.strings.extend(_bytes(x) for x in texts)
    elif constants := _all(items, Constant):
        proto.type = _Kind.SPARSE_TENSORS if sparse else _Kind.TENSORS
        for constant in constants:
            if sparse:
                write_sparse(constant, proto.sparse_tensors.add())
            else:
                write_tensor(constant, proto.tensors.add())
    elif graphs := _all(items, Graph):
        proto.type = _Kind.GRAPHS
        for graph in graphs:
            write_graph(graph, proto.graphs.add())
    elif types := _all(items, _TYPES):
        proto.type = _Kind.TYPE_PROTOS
        for kind in types:
            write_type(kind, proto.type_protos.add())
    else:
        raise ModelError(f"attribute '{proto.name}' is a list of different kinds: {items!r}")


def _all(items: tuple[object, ...], kind: type[T] | tuple[type[T], ...]) -> tuple[T, ...]:
    """The items, when all are of one kind; otherwise none."""
    found = tuple(x for x in items if isinstance(x, kind))
    return found if len(found) == len(items) else ()


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
