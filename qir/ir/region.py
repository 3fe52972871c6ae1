"""Cuts a part out of a graph, as a graph of its own that can be run, saved or looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qir.ir.clone import clone_attribute
from qir.ir.errors import QirError
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import UNKNOWN
from qir.ir.walk import readings


def extract(graph: Graph, nodes: Collection[Node], outputs: Sequence[Value]) -> Graph:
    """The part of `graph` that `nodes` are, returning `outputs`; `graph` is left as it is.

    Names, types and constant data (shared, not copied) are those of `graph`. The inputs of the part are the
    values that its nodes, or their subgraphs, read and none of them makes: inputs of `graph` in their
    order, then others in the order of first reading. QirError for nodes that are not in `graph` itself, and
    for an output that none of them makes.
    """
    chosen = dict.fromkeys(nodes)
    for node in chosen:
        if node.graph is not graph:
            raise QirError(f"cannot extract node '{node.name}': it is not in graph '{graph.name}' itself")
    for value in outputs:
        if value.producer not in chosen:
            raise QirError(f"cannot return '{value.name}': none of the extracted nodes makes it")
    with collector_paused():
        return _copy(graph, [node for node in graph.nodes if node in chosen], outputs)


def _copy(graph: Graph, nodes: Sequence[Node], outputs: Sequence[Value]) -> Graph:
    part = Graph(graph.name, graph.opsets)
    part.metadata.update(graph.metadata)
    made: dict[Value, Value] = {}
    read = dict.fromkeys(value for node in nodes for value in readings(node))
    own = {value for node in nodes for value in node.outputs if value is not None}
    for value in graph.inputs:
        if value in read:
            made[value] = part.add_input(value.name, value.type)
    for value in read:
        if value.constant is not None:
            made[value] = part.add_constant(value.name, value.constant, value.type)
        elif value not in own and value not in made:
            made[value] = part.add_input(value.name, value.type)
    for node in nodes:
        _add(part, node, made)
    for value in outputs:
        part.add_output(made[value])
    return part


def _add(part: Graph, node: Node, made: dict[Value, Value]) -> None:
    copy = part.add(
        node.op,
        [None if value is None else made[value] for value in node.inputs],
        outputs=[None if value is None else value.name for value in node.outputs],
        types=[UNKNOWN if value is None else value.type for value in node.outputs],
        domain=node.domain,
        name=node.name,
    )
    copy.metadata.update(node.metadata)
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        if old is not None and new is not None:
            made[old] = new
    copy.attributes = {key: clone_attribute(item, part, made) for key, item in node.attributes.items()}
