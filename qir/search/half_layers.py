"""Layers that compute in float16: casts around them, their constants rounded."""

from __future__ import annotations

import numpy as np

from qir.backends.fake_quant.half import cast
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType


def compute_in_float16(graph: Graph, layer: Node) -> bool:
    """Let a float32 layer of one result compute in float16; False, leaving it alone, where it cannot.

    It cannot when an operand is not float32, or a constant leaves the range of float16.
    """
    operands = [value for value in layer.inputs if value is not None]
    if any(value.tensor.dtype is not DType.F32 for value in (*operands, layer.output)):
        return False
    if any(value.constant is not None and _overflows(value.constant) for value in operands):
        return False
    for i, value in enumerate(layer.inputs):
        if value is not None:
            layer.set_input(i, _half(graph, value, layer))
            if value.constant is not None and not value.is_read:
                graph.erase(value)
    _restore(graph, layer)
    return True


def _overflows(constant: Constant) -> bool:
    with np.errstate(over="ignore"):
        return not bool(np.isfinite(constant.array.astype(np.float16)).all())


def _half(graph: Graph, value: Value, layer: Node) -> Value:
    if value.constant is None:
        return cast(graph, value, DType.F16, before=layer)
    name = graph.unique_value_name(f"{value.name}.f16")
    return graph.constant(value.constant.array.astype(np.float16), name)


def _restore(graph: Graph, layer: Node) -> None:
    """Cast the result back; what is cast keeps the name that users know."""
    result = layer.output
    name = result.name
    result.type = TensorType(DType.F16, result.tensor.shape)
    nodes = graph.nodes
    place = nodes.index(layer) + 1
    full = cast(graph, result, DType.F32, before=nodes[place] if place < len(nodes) else None)
    graph.replace(result, full)
    if full.name != name:  # it has the name already where the model returns it
        graph.rename(result, graph.unique_value_name(f"{name}.f16"))
        graph.rename(full, name)
