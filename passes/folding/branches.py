"""Puts the branch that an If with a constant condition takes in place of the If."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import UNKNOWN
from qir.passes.constants import truth


def taken_branch(node: Node) -> Graph | None:
    """The branch of an If whose condition is constant; None for every other node."""
    condition = node.input(0)
    if node.op != "If" or node.domain != "" or condition is None:
        return None
    chosen = truth(condition)
    branch = None if chosen is None else node.attributes.get("then_branch" if chosen else "else_branch")
    return branch if isinstance(branch, Graph) else None


def inline_branch(graph: Graph, node: Node, branch: Graph) -> None:
    """Run the nodes of `branch` instead of the If `node` of `graph`.

    Names stay where they are free in `graph`, those of values where they are free in all nested graphs.
    """
    results = branch.outputs
    made: dict[Value, Value] = {}
    for value in branch.constants:
        assert value.constant is not None
        made[value] = graph.constant(value.constant, value.name)
    for inner in branch.nodes:
        _move_node(graph, inner, made, node)
    names = [(new, new.name, old.name) for old, new in made.items()]
    for old, new in made.items():
        branch.replace(old, new)  # subgraphs that moved along may read it
    for output, result in zip(node.outputs, results, strict=True):
        if output is not None:
            graph.replace(output, made.get(result, result))
    graph.erase(node)  # and with it the names in its branches
    for value, stand_in, name in names:
        if value.name == stand_in and graph.unique_value_name(name) == name:
            graph.rename(value, name)


def _move_node(graph: Graph, node: Node, made: dict[Value, Value], before: Node) -> None:
    """A node of `graph` in place of one of its subgraph; graphs among the attributes go over to it."""
    fresh = graph.add(
        node.op,
        [None if v is None else made.get(v, v) for v in node.inputs],
        outputs=[None if v is None else graph.unique_value_name(v.name) for v in node.outputs],
        types=[UNKNOWN if v is None else v.type for v in node.outputs],
        attributes=node.attributes,
        domain=node.domain,
        name=node.name if not graph.has_node(node.name) else graph.unique_node_name(node.name),
        before=before,
    )
    fresh.metadata.update(node.metadata)
    for subgraph in node.subgraphs:
        subgraph.parent = graph
    node.attributes = {}
    for old, new in zip(node.outputs, fresh.outputs, strict=True):
        if old is not None and new is not None:
            made[old] = new
