"""Layers that compute in float16 where the hardware has that: casts around them, their constants rounded.

In the IR their operands are quantized to float16, each by itself; here the layer as a whole becomes one.
"""

from __future__ import annotations

import numpy as np

from qir.backends.casts import cast
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import erase_quant, operand_precision, quantized_layers, unquantized
from qir.ir.types import TensorType


def compute_in_float16(graph: Graph) -> None:
    """Let layers with float16 inputs and weights compute in float16; BackendError for mixed operands.

    A layer that lies in a float16 model already only loses its quants.
    """
    for layer in quantized_layers(graph):
        stored = [operand_precision(layer, i) for i, value in enumerate(layer.inputs) if value is not None]
        halves = [precision is not None and precision.qtype is DType.F16 for precision in stored]
        if not any(halves):
            continue
        if not all(halves[:2]):  # a bias may be float32 still
            raise BackendError(
                f"layer '{layer.name}' ({layer.op}) has operands in float16 and others that are not; this "
                "target computes whole layers in float16: give all of its operands that precision"
            )
        _compute(graph, layer)


def _compute(graph: Graph, layer: Node) -> None:
    was_half = layer.output.tensor.dtype is DType.F16
    for i, value in enumerate(layer.inputs):
        if value is not None:
            source = unquantized(value)
            layer.set_input(i, source if was_half else _half(graph, source, layer))
            erase_quant(value)
            if source.constant is not None and not source.is_read:
                graph.erase(source)
    if not was_half:
        _restore(graph, layer)


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
