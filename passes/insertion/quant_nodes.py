"""Lets a node read a value through an open quant, which all readers under one spec share."""

from __future__ import annotations

from collections.abc import Mapping

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import find_quant
from qir.ir.types import QuantSpec


def read_quant(graph: Graph, reader: Node, index: int, spec: QuantSpec, order: Mapping[Node, int]) -> None:
    """Let input `index` of `reader` (which must be there) be a quant of its value under `spec`.

    `order` is the place of each node that was there before the caller began to walk the graph in running
    order; the quant stands before its first reader.
    """
    value = reader.inputs[index]
    assert value is not None
    quant = find_quant(value, spec)
    if quant is None or quant.graph is not graph:
        name = graph.unique_value_name(f"{value.name}.q")
        kind = value.tensor.with_quant(spec)
        quant = graph.add(
            "quant", [value], domain="qir", name=name, outputs=[name], types=[kind], before=reader
        ).output
    elif quant.producer is not None and order.get(quant.producer, -1) > order[reader]:
        graph.move(quant.producer, reader)
    reader.set_input(index, quant)
