"""Infers the types of a graph's values with ONNX's shape inference; never raises, keeps what is known."""

from __future__ import annotations

import logging
from collections.abc import Set

import onnx

from qir.frontends.onnx.tensors import describe_tensor, write_tensor
from qir.frontends.onnx.types import merge_types, read_type
from qir.frontends.onnx.writer import build_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import Dim, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type
from qir.ir.walk import walk_graphs, walk_nodes

_SHAPE_ELEMENTS = 1024  # constants up to this size keep their data: they may be shapes, axes or scales
_log = logging.getLogger(__name__)


def infer_types(graph: Graph) -> bool:
    """Complete the types of all values, those of subgraphs too; True when a type changed.

    What a value's type says already stays, its quantization included: only unknown element types, ranks and
    dimensions are filled in, and a symbol gives way to a number. An op that ONNX does not know, or whose
    inference fails, leaves its outputs as they are.
    """
    try:
        inferred = _infer(graph)
    except Exception as error:  # whatever the C++ code trips over: types are optional
        _log.info("the types of graph '%s' were not inferred: %s", graph.name, error)
        return False
    symbols = {d for inner in walk_graphs(graph) for v in inner.values() for d in _symbols(v.type)}
    return _merge(graph, inferred.graph, symbols)


def _infer(graph: Graph) -> onnx.ModelProto:
    model = build_model(graph, "identity", (), _store_shapes)
    imported = {o.domain for o in model.opset_import}
    for domain in sorted({node.domain for node in walk_nodes(graph)} - imported):
        model.opset_import.add(domain=domain, version=1)  # one domain without a version fails the whole model
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
        graphs = [
            g for item in sorted(written.attribute, key=_name) for g in (item.g, *item.graphs) if g.ByteSize()
        ]
        for inner, inner_proto in zip(node.subgraphs, graphs, strict=True):
            changed |= _merge(inner, inner_proto, symbols)
    return changed


def _name(attribute: onnx.AttributeProto) -> str:
    return attribute.name


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
