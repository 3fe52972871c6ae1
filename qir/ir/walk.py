"""Orders of visiting a graph: all nodes with those of subgraphs, and sorting nodes after their inputs."""

from __future__ import annotations

from collections.abc import Iterator

from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value


def walk_nodes(graph: Graph) -> Iterator[Node]:
    """Every node in running order, each followed by the nodes of its subgraphs.

    The nodes of a graph are a snapshot, so that a pass may add and erase while it loops; an erased
    node, which then has `graph` None, is not visited any more.
    """
    for node in graph.nodes:
        if node.graph is None:
            continue
        yield node
        if node.graph is None:
            continue
        for subgraph in node.subgraphs:
            yield from walk_nodes(subgraph)


def walk_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and all its subgraphs, outer before inner, in running order."""
    yield graph
    for node in graph.nodes:
        for subgraph in node.subgraphs:
            yield from walk_graphs(subgraph)


def readings(node: Node) -> tuple[Value, ...]:
    """The values that `node` reads, each once, and those that its subgraphs capture from around them."""
    found = [value for value in node.inputs if value is not None]
    for subgraph in node.subgraphs:
        inner = list(walk_graphs(subgraph))
        within = [value for graph in inner for value in graph.outputs]
        within += [v for graph in inner for reader in graph.nodes for v in reader.inputs if v is not None]
        found += [value for value in within if value.graph not in inner]
    return tuple(dict.fromkeys(found))


def producers(node: Node) -> tuple[Node, ...]:
    """The nodes of the same graph that must run before `node`, also those that its subgraphs read from."""
    found = (value.producer for value in readings(node))
    return tuple(dict.fromkeys(n for n in found if n is not None and n.graph is node.graph))


def sort_nodes(graph: Graph) -> bool:
    """Put the nodes of a graph and its subgraphs after what they read; True when anything moved.

    The order is that of `sorted_nodes`; ModelError names the nodes of a cycle.
    """
    changed = False
    order = sorted_nodes(graph)
    if order != graph.nodes:
        changed = True
        for node in order:
            graph.move(node, None)
    for node in order:
        for subgraph in node.subgraphs:
            changed |= sort_nodes(subgraph)
    return changed


def sorted_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes of a graph (not of its subgraphs), each after those whose results it reads.

    Stable: each node keeps its place but for nodes pulled in front of their first reader, so a sorted graph
    stays as it is. Depth-first with an explicit stack: linear in nodes and edges. ModelError names the
    nodes of a cycle.
    """
    order: list[Node] = []
    done: dict[Node, bool] = {}  # False while the producers of a node are being visited
    for root in graph.nodes:
        stack = [] if root in done else [(root, iter(producers(root)))]
        while stack:
            node, pending = stack[-1]
            done[node] = False
            for producer in pending:
                if producer not in done:
                    stack.append((producer, iter(producers(producer))))
                    break
                if not done[producer]:
                    raise ModelError(_describe(graph, [n for n, _ in stack], producer))
            else:
                done[node] = True
                order.append(node)
                stack.pop()
    return tuple(order)


def _describe(graph: Graph, path: list[Node], first: Node) -> str:
    """Names the cycle in the direction of the data: `path` goes from readers to what they read."""
    cycle = [*path[path.index(first) :], first][::-1]
    names = [f"'{n.name}' ({n.op})" for n in cycle]
    if len(names) > 8:
        names = [*names[:4], f"… {len(names) - 7} more …", *names[-3:]]
    return (
        f"graph '{graph.name}' has a cycle: {' -> '.join(names)}; "
        "no order of running exists, remove one of these connections"
    )
