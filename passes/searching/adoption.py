"""Takes over into a graph what was found for copies of it: constants, and how quants are closed."""

from __future__ import annotations

from collections.abc import Mapping

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import OperandPrecision, coarse_quant, is_coarse, is_quant, unquantized, value_precision
from qir.ir.types import QuantSpec
from qir.passes.constants import write_operand
from qir.passes.insertion.selection import Selection
from qir.passes.left_float import FLOAT, leave_in_float
from qir.passes.selected_quants import selected_quant


def adopt_constants(graph: Graph, changed: Graph) -> None:
    """Give nodes the constants and the metadata of those with the same names in a copy, quants apart.

    Layers that the copy has in float go there, too.
    """
    graph.metadata.update(changed.metadata)
    for node in changed.nodes:
        if is_quant(node):
            continue
        own = graph.node(node.name)
        if FLOAT in node.metadata:
            leave_in_float(own, node.metadata[FLOAT])
        own.metadata.update(node.metadata)
        for i, value in enumerate(node.inputs):
            constant = None if value is None else unquantized(value).constant
            mine = own.input(i)
            if constant is None or mine is None or unquantized(mine).constant is constant:
                continue
            quant = mine.producer
            if quant is None:
                write_operand(own, i, constant, f"{own.name}.constant")
                continue
            alone = selected_quant(graph, quant, Selection((), (own.name,), ()))
            write_operand(alone or quant, 0, constant, f"{own.name}.constant")


def adopt_quants(graph: Graph, closed: Graph) -> None:
    """Close the quants of a graph as they are in a copy, and take over what was noted at its nodes."""
    for node in closed.nodes:
        own = graph.node(node.name)
        own.metadata.update(node.metadata)
        if is_quant(node):
            own.output.type = node.output.type


def adopt_layers(graph: Graph, copies: Mapping[int, Graph], chosen: Mapping[str, int]) -> None:
    """Close open quants as the layers that read them have chosen among copies, closed in different ways.

    A quant is split where its readers want different things; readers that have not chosen go by the first.
    """
    first = next(iter(copies))
    for quant in graph.nodes:
        if not is_open(quant) or is_coarse(quant):
            continue
        wanted = {
            reader.name: value_precision(copies[chosen.get(reader.name, first)].value(quant.output.name))
            for reader, _ in quant.output.uses
        }
        groups: dict[OperandPrecision, list[str]] = {}
        for name, precision in wanted.items():
            assert precision is not None
            groups.setdefault(precision, []).append(name)
        for precision, names in groups.items():
            node = selected_quant(graph, quant, Selection((), tuple(names), ()))
            assert node is not None, f"'{names[0]}' does not read quant '{quant.name}'"
            _close(node, precision)


def is_open(node: Node) -> bool:
    """True for an open quant of an activation or a weight."""
    quant = node.output.tensor.quant if is_quant(node) else None
    return isinstance(quant, QuantSpec) and quant.qtype is not DType.I32


def _close(quant: Node, precision: OperandPrecision) -> None:
    coarse = coarse_quant(quant)
    parts = [(quant, precision.quant)] if precision.rest is None else [(quant, precision.rest)]
    if coarse is not None:
        parts.append((coarse, precision.quant))
    for node, params in parts:
        node.output.type = node.output.tensor.with_quant(params)
