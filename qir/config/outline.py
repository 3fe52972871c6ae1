"""The nodes of a float model as it came: op, number of inputs, and which nodes read what each gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from qir.ir.graph import Graph
from qir.ir.walk import producers, walk_graphs, walk_nodes


@dataclass(frozen=True)
class NodeOutline:
    """One node: `inputs` counts those that are absent too, `readers` are nodes of the same graph."""

    op: str
    inputs: int
    readers: tuple[str, ...] = ()


Outline: TypeAlias = Mapping[str, NodeOutline]
"""Name -> node, those of bodies included."""


def outline(graph: Graph) -> Outline:
    """The nodes of a graph and of its bodies, in running order; linear in nodes and edges."""
    found: dict[str, NodeOutline] = {}
    for inner in walk_graphs(graph):
        readers: dict[str, list[str]] = {node.name: [] for node in inner.nodes}
        for node in inner.nodes:
            for producer in producers(node):
                readers[producer.name].append(node.name)
        found |= {n.name: NodeOutline(n.op, len(n.inputs), tuple(readers[n.name])) for n in inner.nodes}
    return found


def node_names(graph: Graph) -> frozenset[str]:
    """The names of all nodes, those of bodies included."""
    return frozenset(node.name for node in walk_nodes(graph))


def dependents(nodes: Outline, first: str) -> frozenset[str]:
    """The node `first` and all that depend on it."""
    found, pending = {first}, [first]
    while pending:
        for reader in nodes[pending.pop()].readers:
            if reader not in found:
                found.add(reader)
                pending.append(reader)
    return frozenset(found)
