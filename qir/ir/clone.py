"""Deep copies of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qir.ir.node import Attribute, Node, Value, attribute_graphs

if TYPE_CHECKING:  # Graph.clone is this function
    from qir.ir.graph import Graph


def clone_graph(graph: Graph, parent: Graph | None, made: dict[Value, Value]) -> Graph:
    """A copy of `graph` within `parent` that shares constant data.

    `made` maps values of the graphs around to their copies and receives those of this graph; a captured value
    that is not in it is captured by the copy as it is.
    """
    copy = type(graph)(graph.name, graph.opsets, parent)
    copy.metadata.update(graph.metadata)
    for value in graph.inputs:
        made[value] = copy.add_input(value.name, value.type)
    for value in graph.constants:
        assert value.constant is not None
        made[value] = copy.add_constant(value.name, value.constant, value.type)
    pairs = [(node, _clone_node(node, copy, made)) for node in graph.nodes]
    for node, fresh in pairs:  # edges last: a graph whose order is broken can be copied too
        if node.subgraphs:
            fresh.attributes = {k: clone_attribute(a, copy, made) for k, a in node.attributes.items()}
        else:
            fresh.attributes = dict(node.attributes)
        fresh._connect([None if item is None else made.get(item, item) for item in node.inputs])
    for value in graph.outputs:
        copy.add_output(made.get(value, value))
    return copy


def _clone_node(node: Node, copy: Graph, made: dict[Value, Value]) -> Node:
    fresh = Node(node.op, node.domain, node.name)
    fresh.metadata.update(node.metadata)
    outputs: list[Value | None] = []
    for i, old in enumerate(node.outputs):
        new = None if old is None else Value(copy, old.name, old.type, None, fresh, i)
        if old is not None and new is not None:
            made[old] = new
        outputs.append(new)
    fresh.outputs = tuple(outputs)
    copy._take(fresh, None)
    return fresh


def clone_attribute(item: Attribute, parent: Graph, made: dict[Value, Value]) -> Attribute:
    """An attribute for a node of `parent`, with copies of the graphs in it; `made` as in `clone_graph`."""
    graphs = attribute_graphs(item)
    if not graphs:
        return item
    copies = tuple(clone_graph(g, parent, made) for g in graphs)
    return copies if isinstance(item, tuple) else copies[0]
