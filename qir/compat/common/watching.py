"""Puts calibration ops into a graph, and takes them off again.

    %x32 = Cast(%x)                        where x is not float32
    %scale, %failed = amct.customop.IFMR(%x32)
    %_ = Gather "[IFMR]: Do layer conv1 data calibration failed!"(const [0], %failed)

A Python op cannot raise, so it sets `failed`, and ONNX Runtime names the Gather that fails by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.runtime.calibration_ops import BATCH_NUM, DOMAIN, DUMPS, OBJECT_LAYER, RANGE_OPS, RECORD_FILE

_MARK = "qir.calibration"
"""Metadata key of every node that watches."""
_TENSOR_PROTO = {DType.F32: 1, DType.I64: 7}
"""What ONNX calls the types that others are cast to."""


def watch(
    graph: Graph,
    op: str,
    source: Value,
    others: Sequence[Value],
    layers: Sequence[str],
    record_file: str,
    attributes: Mapping[str, int | str],
) -> None:
    """Add an op that watches `source` for `layers`, at the end of the graph.

    Of nodes that nobody reads, ONNX Runtime runs the last ones first, each as soon as it can: add those that
    watch the end of the model first, and activations live no longer than they must.
    """
    graph.opsets.setdefault(DOMAIN, 1)
    title = f"{layers[0]}.{op.lower()}"
    watched = _cast(graph, source, title)
    name = graph.unique_node_name(title)
    outputs = ("scale", "failed") if op in RANGE_OPS else ("failed",)
    node = graph.add(
        op,
        [watched, *others],
        outputs=[graph.unique_value_name(f"{name}.{output}") for output in outputs],
        types=[TensorType(DType.I64 if output == "failed" else DType.F32, (1,)) for output in outputs],
        attributes={**attributes, RECORD_FILE: record_file, OBJECT_LAYER: json.dumps(layers)},
        domain=DOMAIN,
        name=name,
    )
    node.metadata[_MARK] = "watch"
    zero = graph.constant(np.zeros(1, np.int64), f"{name}.fine")
    failure = f"[{op}]: Do layer {', '.join(layers)} data calibration failed!"
    _add(graph, "Gather", [zero, node.outputs[-1]], failure, {})


def watch_inputs(graph: Graph, record_file: str, batch_num: int) -> None:
    """Add an op for each input of the model that keeps what is fed, for `batch_num` runs."""
    for source in graph.inputs:
        if source.constant is None:
            op = DUMPS[_watched_type(source.tensor.dtype)]
            watch(graph, op, source, (), (source.name,), record_file, {BATCH_NUM: batch_num})


def unwatched(graph: Graph) -> Graph:
    """A copy without the ops that watch."""
    copy = graph.clone()
    for node in reversed(list(copy.nodes)):
        if _MARK not in node.metadata:
            continue
        read = [value for value in node.inputs if value is not None]
        copy.erase(node)
        for value in read:
            if value.constant is not None and not value.is_read:
                copy.erase(value)
    copy.opsets.pop(DOMAIN, None)
    return copy


def _watched_type(dtype: DType | None) -> DType:
    """The type as which values of a type are watched; it holds all of them."""
    if dtype is None or dtype.is_float:
        return DType.F64 if dtype is DType.F64 else DType.F32
    return DType.STR if dtype is DType.STR else DType.I64


def _cast(graph: Graph, source: Value, title: str) -> Value:
    wanted = _watched_type(source.tensor.dtype)
    if source.tensor.dtype is wanted:
        return source
    return _add(graph, "Cast", [source], f"{title}.cast", {"to": _TENSOR_PROTO[wanted]}).output


def _add(
    graph: Graph,
    op: str,
    inputs: Sequence[Value | None],
    title: str,
    attributes: Mapping[str, int],
) -> Node:
    name = graph.unique_node_name(title)
    node = graph.add(
        op, inputs, name=name, outputs=[graph.unique_value_name(f"{name}.output")],
        attributes=dict(attributes),
    )  # fmt: skip
    node.metadata[_MARK] = "watch"
    return node
