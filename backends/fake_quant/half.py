"""Layers of float16 models in the form `qdq`: they compute in float32, and their results are cast back.

DequantizeLinear gives the float type of its scales, which are float32. Rounding its results to float16 would
add errors that the hardware does not make.
"""

from __future__ import annotations

from collections.abc import Set

from qir.backends.ascend.rules import RULES
from qir.backends.casts import cast
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add, quant_of, quantized_layers
from qir.ir.types import TensorType


def widen_layers(graph: Graph) -> Set[Node]:
    """Let quantized float16 layers compute in float32; returns their nodes, the Add of a bias included.

    Their quants still give float16: whoever lowers them must let these nodes read float32. Layers with an
    operand that is not quantized stay as they are.
    """
    found: dict[Node, None] = {}
    for layer in quantized_layers(graph):
        first = layer.inputs[0]
        if layer.op not in RULES.ops or first is None or first.tensor.dtype is not DType.F16:
            continue
        if any(value is not None and quant_of(value) is None for value in layer.inputs):
            continue
        last = bias_add(layer) or layer
        found |= {layer: None, last: None}
        _narrow_result(graph, layer, last)
    return found.keys()


def _narrow_result(graph: Graph, layer: Node, last: Node) -> None:
    """Cast the result of a layer back to float16; the cast takes the name of a result that is returned."""
    result, was_output = last.output, last.output.is_output
    for node in (layer, last):
        node.output.type = TensorType(DType.F32, node.output.tensor.shape)
    nodes = graph.nodes
    place = nodes.index(last) + 1
    half = cast(graph, result, DType.F16, before=nodes[place] if place < len(nodes) else None)
    graph.replace(result, half)
    if was_output:
        graph.rename(result, graph.unique_value_name(f"{last.name}_output0"))
