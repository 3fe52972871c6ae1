"""Which quantizers users mean by names of nodes and tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qir.debug.tables import NODE_TYPES
from qir.ir.errors import ArgumentError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import quant_of
from qir.ir.types import QuantParams
from qir.passes.left_float import FLOAT
from qir.runtime.metrics import METRICS, Metric
from qir.runtime.switches import Choice, Reading, Switchable

Nodes: TypeAlias = "str | Sequence[str | Sequence[str]]"
"""Names; those of an inner list are taken together."""


@dataclass(frozen=True)
class Item:
    """Quantizers that are switched together; `tensor`, `threshold` and `bits` are those of an activation."""

    label: str
    nodes: tuple[str, ...]
    op: str
    choice: Choice
    tensor: str | None = None
    threshold: float | None = None
    bits: int | None = None


def metrics_named(metrics: str | Metric | Sequence[str | Metric], what: str) -> tuple[Metric, ...]:
    """Metrics by their names; ArgumentError for unknown ones and for an empty list."""
    given = [metrics] if isinstance(metrics, (str, Metric)) else list(metrics)
    if not given:
        raise ArgumentError(what, "the list is empty; name at least one metric, as 'cosine-similarity'")
    found = [_metric(item, what) if isinstance(item, str) else item for item in given]
    return tuple({metric.name: metric for metric in found}.values())


def _metric(name: str, what: str) -> Metric:
    known = {metric.name: metric for metric in METRICS}
    if name not in known:
        reason = f"there is no metric '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}"
        raise ArgumentError(what, reason)
    return known[name]


def items_of(
    graph: Graph,
    known: dict[str, Switchable],
    node_type: str,
    nodes: Nodes | None,
    what: str = "interested_nodes",
) -> list[Item]:
    """What a sensitivity table ranks: all quantizers of a type, or those named (groups are inner lists).

    ArgumentError, with the nearest name, for what has no such quantizers.
    """
    if node_type not in NODE_TYPES:
        raise ArgumentError(
            "node_type",
            f"there is no '{node_type}'{did_you_mean(node_type, NODE_TYPES)}; known: {', '.join(NODE_TYPES)}",
        )
    single = _by_name(graph, known, node_type)
    if not single:
        raise ArgumentError("node_type", f"the model has no quantized {_PLURAL[node_type]}")
    if nodes is None:
        return list(dict.fromkeys(single.values()))
    found = []
    for group in groups_of(nodes, what):
        parts = list(dict.fromkeys(_named(graph, known, single, node_type, name, what) for name in group))
        found.append(parts[0] if len(parts) == 1 else _joined(parts))
    return list(dict.fromkeys(found))


_PLURAL = {"node": "nodes", "weight": "weights", "activation": "activations"}


def groups_of(nodes: Nodes, what: str) -> list[list[str]]:
    """Lists of names; ArgumentError for empty ones and for what is no name."""
    given = [nodes] if isinstance(nodes, str) else list(nodes)
    groups: list[list[str]] = []
    for item in given:
        if isinstance(item, str):
            groups.append([item])
        elif isinstance(item, Iterable):
            groups.append(list(item))
        else:
            raise ArgumentError(what, f"names of nodes are expected, not {item!r}")
    if not groups or not all(groups):
        raise ArgumentError(what, "the list is empty; name at least one node")
    for name in (name for group in groups for name in group):
        if not isinstance(name, str):
            raise ArgumentError(what, f"names of nodes are expected, not {name!r}")
    return groups


def node_named(
    graph: Graph, known: dict[str, Switchable], name: str, what: str, words: Collection[str] = ()
) -> Switchable:
    """The node with quantizers of that name, or whose quantized tensor has it; ArgumentError otherwise.

    `words` could have stood there alone in place of a name.
    """
    if name in known:
        return known[name]
    for item in known.values():
        if name in (*item.weights.values(), *item.activations.values()):
            return item
    if graph.has_node(name):
        node = graph.node(name)
        raise ArgumentError(what, f"node '{name}' ({node.op}) has no quantizers{_reason(node)}")
    if name in words:
        raise ArgumentError(what, f"'{name}' stands alone, not in a list together with nodes")
    raise ArgumentError(what, f"the model has no node '{name}'{did_you_mean(name, (*words, *known))}")


def _reason(node: Node) -> str:
    reason = node.metadata.get(FLOAT)
    return f": {reason}" if reason else ", it computes in float"


def _by_name(graph: Graph, known: dict[str, Switchable], node_type: str) -> dict[str, Item]:
    """The quantizers of a type, by the labels of the table."""
    if node_type == "activation":
        return _activations(graph, known)
    found = {}
    for item in known.values():
        choice = item.readings(NODE_TYPES[node_type])
        if choice:
            found[item.node] = Item(item.node, (item.node,), item.op, choice)
    return found


def _activations(graph: Graph, known: dict[str, Switchable]) -> dict[str, Item]:
    """Quantized tensors, in the order in which they are read first."""
    readings: dict[str, list[tuple[Switchable, Reading]]] = {}
    for item in known.values():
        for reading, tensor in item.activations.items():
            readings.setdefault(tensor, []).append((item, reading))
    return {tensor: _activation(graph, tensor, found) for tensor, found in readings.items()}


def _activation(graph: Graph, tensor: str, readings: Sequence[tuple[Switchable, Reading]]) -> Item:
    producer = graph.value(tensor).producer
    first = readings[0][1]
    params = quant_of(graph.node(first.node).input(first.index))
    assert isinstance(params, QuantParams)
    nodes = tuple(dict.fromkeys(item.node for item, _ in readings))
    op = "input" if producer is None else producer.op
    choice = frozenset(reading for _, reading in readings)
    return Item(tensor, nodes, op, choice, tensor, threshold_of(params), params.spec.qtype.bits)


def threshold_of(params: QuantParams) -> float | None:
    """The largest magnitude that is not clipped; None for float types, which have no scale."""
    span = range_of(params)
    return None if span is None else max(-span[0], span[1])


def range_of(params: QuantParams) -> tuple[float, float] | None:
    """The real numbers that the least and the greatest integer stand for; None without a single scale."""
    if len(params.scale) != 1 or not params.spec.qtype.is_integer:
        return None
    least, most = params.spec.qtype.integer_range
    (scale,), (zero,) = params.scale, params.zero_point
    return (least - zero) * scale, (most - zero) * scale


def _named(
    graph: Graph, known: dict[str, Switchable], single: dict[str, Item], node_type: str, name: str, what: str
) -> Item:
    """The quantizers of a type that a node or a tensor has."""
    if name in single:
        return single[name]
    tensors = {**{item.node: item.node for item in known.values()}, **single}
    has_tensor = any(
        name in item.weights.values() or name in item.activations.values() for item in known.values()
    )
    if name not in known and not has_tensor and not graph.has_node(name):
        raise ArgumentError(
            what, f"the model has no node or quantized tensor '{name}'{did_you_mean(name, tensors)}"
        )
    item = node_named(graph, known, name, what)
    if node_type == "activation" and item.activations:
        return single[next(iter(item.activations.values()))]
    if item.node not in single:
        raise ArgumentError(what, f"node '{name}' ({item.op}) has no quantized {_PLURAL[node_type]}")
    return single[item.node]


def _joined(parts: Sequence[Item]) -> Item:
    """Several items as one."""
    ops = dict.fromkeys(part.op for part in parts)
    nodes = tuple(dict.fromkeys(name for part in parts for name in part.nodes))
    choice = frozenset(reading for part in parts for reading in part.choice)
    return Item(" + ".join(part.label for part in parts), nodes, ", ".join(ops), choice)
