"""Infers the types of a graph's values with ONNX's shape inference; never raises, keeps what is known."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Set

import onnx

from qir.frontends.onnx.tensors import describe_tensor, write_tensor
from qir.frontends.onnx.types import is_writable, merge_types, read_type
from qir.frontends.onnx.writer import build_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, attribute_graphs
from qir.ir.types import Dim, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type
from qir.ir.walk import walk_graphs, walk_nodes

_SHAPE_ELEMENTS = 1024  # constants up to this size keep their data: they may be shapes, axes or scales
_CRASHING = frozenset(
    {
        ("", "RegexFullMatch"),
        ("ai.onnx.ml", "DictVectorizer"),
        ("ai.onnx.ml", "LabelEncoder"),
        ("ai.onnx.ml", "TreeEnsemble"),
    }
)
"""Ops whose inference in ONNX (1.23 at least) reads a type where there is none, and ends the process."""
_log = logging.getLogger(__name__)


def infer_types(graph: Graph) -> bool:
    """Complete the types of all values, those of subgraphs too; True when a type changed.

    What a value's type says already stays, its quantization included: only unknown element types, ranks and
    dimensions are filled in, and a symbol gives way to a number. An op that ONNX does not know, or whose
    inference fails, leaves its outputs as they are.
    """
    changed = False
    try:
        while True:
            model = build_model(graph, "identity", (), _store_shapes)
            hidden = _prepare(graph, model)
            if not _merge(graph, _infer(model).graph, _symbols_of(graph)):
                return changed
            changed = True
            if not hidden:
                return True
    except Exception as error:  # whatever the C++ code trips over: types are optional
        _log.info("the types of graph '%s' were not inferred: %s", graph.name, error)
        return changed


def _prepare(graph: Graph, model: onnx.ModelProto) -> bool:
    """Hide from inference what would crash it: True when nodes were hidden, whose inputs have no type yet."""
    imported = {o.domain for o in model.opset_import}
    for domain in sorted({node.domain for node in walk_nodes(graph)} - imported):
        model.opset_import.add(domain=domain, version=1)  # one domain without a version fails the whole model
    hidden = False
    for node, written in _pairs(graph, model.graph):
        untyped = any(v is not None and not is_writable(v.type) for v in node.inputs)
        if untyped and (node.domain, node.op) in _CRASHING:
            written.op_type, hidden = "Hidden", True
    return hidden


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        _log.info("inference without data propagation, because of: %s", error)
        return onnx.shape_inference.infer_shapes(model)


def _store_shapes(constant: Constant, proto: onnx.TensorProto, name: str) -> None:
    """Fill `proto`; the data of large constants and of strings are left out: no shape depends on them."""
    if constant.size <= _SHAPE_ELEMENTS and constant.dtype is not DType.STR:
        write_tensor(constant, proto, name)
    else:
        describe_tensor(constant, proto, name)


def _pairs(graph: Graph, proto: onnx.GraphProto) -> Iterator[tuple[Node, onnx.NodeProto]]:
    """Each node of a graph and of its subgraphs with its message."""
    for node, written in zip(graph.nodes, proto.node, strict=True):
        yield node, written
        for inner, inner_proto in _subgraph_pairs(node, written):
            yield from _pairs(inner, inner_proto)


def _subgraph_pairs(node: Node, written: onnx.NodeProto) -> Iterator[tuple[Graph, onnx.GraphProto]]:
    for item in written.attribute:
        protos = (item.g,) if item.HasField("g") else item.graphs
        yield from zip(attribute_graphs(node.attributes[item.name]), protos, strict=True)


def _merge(graph: Graph, proto: onnx.GraphProto, symbols: Set[str]) -> bool:
    """Merge what was inferred for one graph, and for its subgraphs, into the types of its values."""
    changed = False
    inputs = () if graph.parent is None else proto.input
    for info in (*inputs, *proto.value_info, *proto.output):
        if not graph.has_value(info.name):
            continue
        value = graph.value(info.name)
        found = _without_invented(read_type(info.type, f"value '{info.name}'"), symbols)
        merged = merge_types(value.type, found)
        if value.constant is None and merged != value.type:
            value.type, changed = merged, True
    for node, written in zip(graph.nodes, proto.node, strict=True):
        for inner, inner_proto in _subgraph_pairs(node, written):
            changed |= _merge(inner, inner_proto, symbols)
    return changed


def _symbols_of(graph: Graph) -> set[str]:
    """All symbolic dimensions of a graph and its subgraphs."""
    return {d for each in walk_graphs(graph) for value in each.values() for d in _symbols(value.type)}


def _symbols(kind: Type) -> tuple[str, ...]:
    if isinstance(kind, (TensorType, SparseTensorType)):
        return tuple(d for d in kind.shape or () if isinstance(d, str))
    return _symbols(kind.value if isinstance(kind, MapType) else kind.element)


def _without_invented(kind: Type, symbols: Set[str]) -> Type:
    """A type without the symbols that inference made up (`unk__0`): they would differ from run to run."""
    if isinstance(kind, TensorType):
        return TensorType(kind.dtype, _known_dims(kind.shape, symbols))
    if isinstance(kind, SparseTensorType):
        return SparseTensorType(kind.dtype, _known_dims(kind.shape, symbols))
    if isinstance(kind, SequenceType):
        return SequenceType(_without_invented(kind.element, symbols))
    if isinstance(kind, OptionalType):
        return OptionalType(_without_invented(kind.element, symbols))
    return MapType(kind.key, _without_invented(kind.value, symbols))


def _known_dims(shape: tuple[Dim, ...] | None, symbols: Set[str]) -> tuple[Dim, ...] | None:
    return (
        None
        if shape is None
        else tuple(None if isinstance(d, str) and d not in symbols else d for d in shape)
    )
