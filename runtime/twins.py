"""Quantized twins: beside each quantized layer of a graph, the same layer in float, on the same float input.

In the result every layer of the model computes in float. A quantized layer has a twin that reads the float
layer's own input through the layer's quants, so that the difference of both outputs is what quantizing this
layer alone does to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from qir.ir.dtypes import DType
from qir.ir.float_graph import float_graph
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import bias_add, is_quant, quant_of, quantized_layers, unquantized
from qir.ir.types import QuantSpec
from qir.runtime.rounder import DOMAIN, Rounder


@dataclass(frozen=True)
class Twin:
    """A layer and the names of its two results: in float, and quantized."""

    layer: str
    op: str
    float_value: str
    twin_value: str


def with_twins(graph: Graph) -> tuple[Graph, tuple[Twin, ...]]:
    """A copy of a closed graph with twins, in running order; the graph is left as it is.

    PassError for a quant that is still open.
    """
    copy = graph.clone()
    copy.opsets.setdefault(DOMAIN, 1)
    builder = _Builder(copy)
    twins = tuple(builder.double(layer) for layer in quantized_layers(copy))
    for node in reversed(copy.nodes):
        if is_quant(node) and not node.output.is_read:
            copy.erase(node)
    return copy, twins


def without_quants(graph: Graph, *, rounded: bool) -> Graph:
    """A copy whose nodes read what quants give (`rounded`), or the float values behind them.

    Biases that are still open are read in float; PassError for another open quant.
    """
    if not rounded:
        return float_graph(graph)
    copy = graph.clone()
    copy.opsets.setdefault(DOMAIN, 1)
    builder = _Builder(copy)
    for i, output in enumerate(copy.outputs):
        copy.set_output(i, unquantized(output))
    for node in copy.nodes:
        for i, value in enumerate(() if is_quant(node) else node.inputs):
            quant = quant_of(value)
            if value is not None and quant is not None:
                is_open_bias = isinstance(quant, QuantSpec) and quant.qtype is DType.I32
                node.set_input(i, unquantized(value) if is_open_bias else builder.rounded(value, node))
    for node in reversed(copy.nodes):
        if is_quant(node) and not node.output.is_read:
            copy.erase(node)
    return copy


class _Builder:
    """Adds twins to one graph; operands that several twins share are made once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.rounded = Rounder(graph).rounded

    def double(self, layer: Node) -> Twin:
        """The twin of a layer; the layer itself reads floats afterwards."""
        add = bias_add(layer)
        result = self._copy(layer, {})
        if add is not None:
            result = self._copy(add, {layer.output: result})
        for node in (layer, add):
            for i, value in enumerate(() if node is None else node.inputs):
                if node is not None and value is not None:
                    node.set_input(i, unquantized(value))
        return Twin(layer.name, layer.op, (add or layer).output.name, result.name)

    def _copy(self, node: Node, replaced: dict[Value, Value]) -> Value:
        inputs = [None if v is None else replaced.get(v) or self.rounded(v, node) for v in node.inputs]
        name = self._graph.unique_node_name(f"{node.name}.twin")
        made = self._graph.add(
            node.op,
            inputs,
            domain=node.domain,
            name=name,
            outputs=[self._graph.unique_value_name(f"{node.output.name}.twin")],
            types=[node.output.type],
            attributes=dict(node.attributes),
            before=node,
        )
        return made.output
