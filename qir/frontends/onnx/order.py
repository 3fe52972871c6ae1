"""Running order of the nodes in an ONNX file, which need not be sorted."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import onnx

from qir.ir.errors import ModelError

_SHOWN = 8


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads from the graph around it: its inputs and what its subgraphs capture."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        own = defined(graph)
        for inner in graph.node:
            names |= reads(inner) - own
        names |= {v.name for v in graph.output} - own
    return names


def defined(graph: onnx.GraphProto) -> set[str]:
    """Names of all values that a graph itself defines."""
    names = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    names |= {t.values.name for t in graph.sparse_initializer}
    return names | {name for node in graph.node for name in node.output if name}


def running_order(nodes: Sequence[onnx.NodeProto], where: str) -> list[int]:
    """Indices of `nodes`, each after the nodes it reads; the file's order is kept where it can be.

    Raises ModelError, naming nodes of the cycle, when there is no such order.
    """
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [sorted({producer[name] for name in reads(node) if name in producer}) for node in nodes]
    if all(not need or need[-1] < i for i, need in enumerate(needs)):
        return list(range(len(nodes)))
    readers: list[list[int]] = [[] for _ in nodes]
    waiting = [len(need) for need in needs]
    for i, need in enumerate(needs):
        for j in need:
            readers[j].append(i)
    ready = [i for i, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for i in readers[order[-1]]:
            waiting[i] -= 1
            if not waiting[i]:
                heapq.heappush(ready, i)
    if len(order) < len(nodes):
        raise ModelError(f"the nodes of {where} form a cycle: {_cycle(nodes, needs, set(order))}")
    return order


def _cycle(nodes: Sequence[onnx.NodeProto], needs: list[list[int]], done: set[int]) -> str:
    """One cycle among the nodes that could not be ordered: each of them waits for another such node."""
    path: list[int] = [next(i for i in range(len(nodes)) if i not in done)]
    seen = {path[0]: 0}
    while True:
        step = next(j for j in needs[path[-1]] if j not in done)
        if step in seen:
            break
        seen[step] = len(path)
        path.append(step)
    indices = path[seen[step] :][::-1]
    first = indices.index(min(indices))
    cycle = [nodes[i] for i in (*indices[first:], *indices[:first])]
    names = [f"'{n.name or n.output[0]}' ({n.op_type})" for n in cycle[:_SHOWN]]
    return " -> ".join([*names, *(["…"] if len(cycle) > _SHOWN else []), names[0]])
