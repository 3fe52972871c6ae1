"""Removes what nobody reads: nodes, constants, and optional outputs at the end of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_graphs
from qir.passes.base import Pass
from qir.passes.context import Context, RewriteLog

_FIRST_OPTIONAL_OUTPUT = {"Dropout": 1, "GRU": 1, "LSTM": 1, "LayerNormalization": 1, "MaxPool": 1, "RNN": 1}
"""Ops that may leave out the outputs from this one on without a change of meaning.

BatchNormalization is not among them: before opset 14 its further outputs are what puts it in training mode.
"""


@dataclass(frozen=True)
class EliminateDead(Pass):
    """Remove nodes and constants that nobody reads, and unread optional outputs at the end of a node."""

    name: ClassVar[str] = "eliminate-dead"

    def run(self, graph: Graph, context: Context) -> bool:
        """Graph inputs stay, and so do nodes without any output, which can only be there for an effect."""
        return eliminate_dead(graph, context.rewrites)


def eliminate_dead(graph: Graph, log: RewriteLog) -> bool:
    """Remove dead code from `graph` and its subgraphs; True when there was some.

    One visit in reverse running order is enough: whoever reads a value, in the same graph or a subgraph, is
    visited before the node that makes it.
    """
    changed = False
    for inner in reversed(tuple(walk_graphs(graph))):
        for node in reversed(inner.nodes):
            changed |= _eliminate_node(inner, node, log)
        for value in inner.constants:
            if not value.is_read:
                inner.erase(value)
                log.applied(EliminateDead.name, value.name)
                changed = True
    return changed


def _eliminate_node(graph: Graph, node: Node, log: RewriteLog) -> bool:
    outputs = [v for v in node.outputs if v is not None]
    if outputs and not any(v.is_read for v in outputs):
        graph.erase(node)
    elif not _drop_outputs(node):
        return False
    log.applied(EliminateDead.name, node.name)
    return True


def _drop_outputs(node: Node) -> bool:
    first = _FIRST_OPTIONAL_OUTPUT.get(node.op) if node.domain == "" else None
    if first is None:
        return False
    before = len(node.outputs)
    while len(node.outputs) > first and not _is_read(node, len(node.outputs) - 1):
        node.drop_output(len(node.outputs) - 1)
    return len(node.outputs) < before


def _is_read(node: Node, i: int) -> bool:
    value = node.outputs[i]
    return value is not None and value.is_read
