"""Lets a node read a value through open quants, which all readers under the same specs share."""

from __future__ import annotations

from collections.abc import Mapping

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import OperandPrecision, coarse_quant, find_quant, is_quant, value_precision
from qir.ir.types import Quant, QuantSpec, spec_of


def read_quant(graph: Graph, reader: Node, index: int, spec: QuantSpec, order: Mapping[Node, int]) -> None:
    """Let input `index` of `reader` (which must be there) be a quant of its value under `spec`.

    `order` is the place of each node that was there before the caller began to walk the graph in running
    order; the quant stands before its first reader.
    """
    read_precision(graph, reader, index, OperandPrecision(spec), order)


def read_precision(
    graph: Graph, reader: Node, index: int, precision: OperandPrecision, order: Mapping[Node, int]
) -> None:
    """The same for any precision: with error compensation, a second quant of what the first leaves."""
    value = reader.inputs[index]
    assert value is not None
    found = _find(value, precision)
    quant = None if found is None or found.graph is not graph else found.producer
    if quant is None:
        made = new_quant(graph, [value], precision.quant, reader)
        if precision.rest is not None:
            made = new_quant(graph, [value, made], precision.rest, reader)
        reader.set_input(index, made)
        return
    if order.get(quant, -1) > order[reader]:
        coarse = coarse_quant(quant)
        for node in (quant,) if coarse is None else (coarse, quant):
            graph.move(node, reader)
    reader.set_input(index, quant.output)


def new_quant(graph: Graph, inputs: list[Value], quant: Quant, before: Node) -> Value:
    """A quant of the first input, or of what the second leaves of it, named after the value."""
    value = inputs[0]
    name = graph.unique_value_name(f"{value.name}.{'q' if len(inputs) == 1 else 'ec'}")
    kind = value.tensor.with_quant(quant)
    node = graph.add("quant", inputs, domain="qir", name=name, outputs=[name], types=[kind], before=before)
    return node.output


def _find(value: Value, precision: OperandPrecision) -> Value | None:
    """The value in that precision, if quants of it are there already."""
    if precision.rest is None:
        return find_quant(value, spec_of(precision.quant))
    wanted = (spec_of(precision.quant), spec_of(precision.rest))
    for node, _ in value.uses:
        found = value_precision(node.output) if is_quant(node) else None
        if found is None or found.rest is None:
            continue
        if (spec_of(found.quant), spec_of(found.rest)) == wanted:
            return node.output
    return None
