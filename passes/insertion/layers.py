"""Puts open quants in front of the operands of one layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add_candidate
from qir.passes.insertion.quant_nodes import read_precision
from qir.passes.insertion.specs import Wish, has_floats
from qir.passes.rules import OperandRule, OpRule


def quantize_layer(
    graph: Graph, node: Node, rule: OpRule, wish: Wish, order: Mapping[Node, int], *, narrow: bool = False
) -> None:
    """Let a layer that is not refused read its operands as they are wished; arguments as for `Wish.quants`.

    `order` is the place of each node when the caller began to walk the graph.
    """
    for reader, index, operand in _operands(node, rule):
        value = reader.input(index)
        is_there = value is not None and has_floats(value)
        quants = wish.quants(operand, node, rule, narrow=narrow) if is_there else None
        if quants is not None:
            read_precision(graph, reader, index, quants, order)


def _operands(node: Node, rule: OpRule) -> Iterator[tuple[Node, int, OperandRule]]:
    """Each operand rule with the node that reads it: a MatMul's bias is read by the Add behind it."""
    for operand in rule.operands:
        if node.op != "MatMul" or operand.role != "bias":
            yield node, operand.index, operand
            continue
        add = bias_add_candidate(node)
        if add is not None:
            yield add, operand.index, operand
