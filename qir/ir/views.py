"""Graphs as networkx sees them: dominators, paths between nodes.

A view is made on request and is not kept up to date. A subgraph is part of the node that holds it: what it
captures counts as read by that node. This module stands apart because networkx takes long to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import networkx as nx

from qir.ir.dot import to_dot as to_dot
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.walk import walk_graphs

_ROOT = "root"


def to_networkx(graph: Graph) -> nx.MultiDiGraph:
    """The nodes of a graph in running order, with one edge per reading from the node that makes a value.

    Vertices are `Node` objects, and `Value` objects for the graph inputs; constants have none. An edge has
    the attributes `value` (the Value) and `index` (of the input that reads it, None for a capture).
    """
    view = nx.MultiDiGraph(name=graph.name)
    view.add_nodes_from(graph.inputs)
    view.add_nodes_from(graph.nodes)
    for node in graph.nodes:
        for value, index in _readings(node):
            source = value.producer if value.producer is not None else value
            if value.graph is graph and value.constant is None:
                view.add_edge(source, node, value=value, index=index)
    return view


def _readings(node: Node) -> list[tuple[Value, int | None]]:
    """What a node and its subgraphs read, in order; captures once each."""
    found: list[tuple[Value, int | None]] = [(v, i) for i, v in enumerate(node.inputs) if v is not None]
    captured: dict[Value, None] = {}
    for subgraph in node.subgraphs:
        for inner in walk_graphs(subgraph):
            for value in (*(v for n in inner.nodes for v in n.inputs if v is not None), *inner.outputs):
                if value.graph is node.graph:
                    captured[value] = None
    return [*found, *((value, None) for value in captured)]


def dominators(graph: Graph) -> dict[Node, Node | None]:
    """The immediate dominator of every node, in running order.

    It is the last other node that every path from the graph inputs (and from nodes without inputs) to the
    node runs through; None where there is no such node.
    """
    view = nx.DiGraph(to_networkx(graph))
    view.add_edges_from((_ROOT, vertex) for vertex, degree in list(view.in_degree()) if degree == 0)
    found = nx.immediate_dominators(view, _ROOT) if _ROOT in view else {}
    nearest = {node: found.get(node) for node in graph.nodes}
    return {node: over if isinstance(over, Node) else None for node, over in nearest.items()}


def nodes_between(graph: Graph, sources: Iterable[Node], targets: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes on any path from one of `sources` to one of `targets`, ends included, in running order."""
    view = to_networkx(graph)
    below = _reached(graph, sources, view.successors)
    above = _reached(graph, targets, view.predecessors)
    return tuple(node for node in graph.nodes if node in below and node in above)


def _reached(
    graph: Graph, ends: Iterable[Node], neighbours: Callable[[object], Iterable[object]]
) -> set[object]:
    found: set[object] = set()
    pending: list[object] = []
    for node in ends:
        if node.graph is not graph:
            raise QirError(f"node '{node.name}' is not in graph '{graph.name}'")
        pending.append(node)
    while pending:
        vertex = pending.pop()
        if vertex not in found:
            found.add(vertex)
            pending += neighbours(vertex)
    return found
