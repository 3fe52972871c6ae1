"""Splits a graph into segments that run one after the other, so that few tapped tensors exist at a time.

ONNX Runtime returns all that is fetched at the end of a run. When a graph runs in segments, the tapped
tensors of one are measured and given back before the next begins. Where to cut depends on the graph and on
the taps alone, not on data or machine: what ONNX Runtime fuses, and with it the last bit of results, depends
on the cuts.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qir.frontends.onnx import infer_types
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings, walk_nodes

SEGMENT_BYTES = 4 << 20
"""Estimated bytes of tapped tensors that a segment may hold; a larger tensor has a segment of its own."""
_UNKNOWN_BATCH, _UNKNOWN_DIMENSION, _UNKNOWN_BYTES = 1, 128, 1 << 20
"""What an unknown first or later dimension, and a tensor of unknown rank, are taken for."""
_UNTAPPED = 4
"""A byte that crosses a cut weighs so much more when it is not tapped: it is fetched for the cut alone."""


@dataclass(frozen=True)
class Segment:
    """A part of a graph; it reads `graph.inputs`, and `graph.outputs` are what is needed of it elsewhere.

    `kept` names those inputs and outputs that a later segment reads.
    """

    graph: Graph
    kept: frozenset[str]

    @functools.cached_property
    def last_read(self) -> tuple[str, ...]:
        """The inputs that no later segment reads."""
        return tuple(v.name for v in self.graph.inputs if v.name not in self.kept)


def split(graph: Graph, taps: Collection[Value], limit: int = SEGMENT_BYTES) -> list[Segment]:
    """The graph in segments, in running order, each of which holds about `limit` bytes of `taps` at most.

    Their outputs: taps, outputs of the graph, and what crosses from one to a later one. One segment, of the
    graph as it is, when all taps fit.
    """
    nodes, fetched = graph.nodes, dict.fromkeys(v for v in (*taps, *graph.outputs) if v.producer is not None)
    last = _last_readings(nodes)
    bounds = _bounds(nodes, fetched, last, limit)
    found: list[Segment] = []
    for start, end in itertools.pairwise(bounds):
        part = nodes[start:end]
        made = [v for node in part for v in node.outputs if v is not None]
        needed = [v for v in made if v in fetched or last.get(v, -1) >= end]
        if not needed:
            continue
        segment = extract(graph, part, needed)
        ends = (*segment.inputs, *segment.outputs)
        kept = frozenset(v.name for v in ends if last.get(graph.value(v.name), -1) >= end)
        found.append(Segment(segment, kept))
    return found


def infer_anew(graph: Graph) -> None:
    """Give what nodes make the types that follow from inputs and constants, whatever the model declares.

    ONNX Runtime overlooks a wrong declaration within a graph, but not where a part of it reads the value.
    """
    for value in (v for node in walk_nodes(graph) for v in node.outputs if v is not None):
        if isinstance(value.type, TensorType):
            value.type = TensorType(value.type.dtype)
    infer_types(graph)


def _last_readings(nodes: Sequence[Node]) -> dict[Value, int]:
    """The position of the last node that reads a value."""
    return {value: place for place, node in enumerate(nodes) for value in readings(node)}


def _bounds(
    nodes: Sequence[Node], fetched: Collection[Value], last: dict[Value, int], limit: int
) -> list[int]:
    """Positions of the cuts among `nodes`, from 0 to their number."""
    held = [sum(estimated_bytes(v) for v in node.outputs if v is not None and v in fetched) for node in nodes]
    weights = _crossing_weights(nodes, fetched, last)
    bounds, start, size = [0], 0, 0
    for place in range(len(nodes)):
        cut = _best_cut(held, weights, start, place) if size + held[place] > limit else None
        if cut is not None:
            bounds.append(cut)
            start, size = cut, sum(held[cut:place])
        size += held[place]
    return [*bounds, len(nodes)]


def _best_cut(held: Sequence[int], weights: Sequence[int | None], start: int, end: int) -> int | None:
    """The cheapest cut after which at most half of what nodes start..end hold is left; the last of equals."""
    left, choices = sum(held[start:end]), []
    half = left / 2
    for cut in range(start + 1, end + 1):
        left -= held[cut - 1]
        weight = weights[cut]
        if left <= half and weight is not None:
            choices.append((weight, -cut))
    return -min(choices)[1] if choices else None


def _crossing_weights(
    nodes: Sequence[Node], fetched: Collection[Value], last: dict[Value, int]
) -> list[int | None]:
    """For a cut before each node, and after the last: the weight of what crosses it.

    None where something crosses that ONNX Runtime cannot take as an input: no tensor, or one of unknown type.
    """
    found: list[int | None] = []
    crossing: dict[Value, None] = {}
    weight = 0
    for place, node in enumerate(nodes):
        fitting = all(v.tensor.dtype is not None for v in crossing)
        found.append(weight if fitting else None)
        made = [v for v in node.outputs if v is not None and last.get(v, -1) > place]
        ended = [v for v in readings(node) if v in crossing and last[v] == place]
        weight += sum(_weight(v, fetched) for v in made) - sum(_weight(v, fetched) for v in ended)
        crossing.update(dict.fromkeys(made))
        for value in ended:
            del crossing[value]
    return [*found, weight]


def _weight(value: Value, fetched: Collection[Value]) -> int:
    return estimated_bytes(value) * (1 if value in fetched else _UNTAPPED)


def estimated_bytes(value: Value) -> int:
    """Bytes of a tensor by its type, with constants for what is not known: the same on every machine."""
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape is None:
        return _UNKNOWN_BYTES
    bits = 32 if kind.dtype is None else kind.dtype.bits
    unknown = [_UNKNOWN_BATCH, *[_UNKNOWN_DIMENSION] * len(kind.shape)]
    sizes = [d if isinstance(d, int) else unknown[i] for i, d in enumerate(kind.shape)]
    return math.prod(sizes) * bits // 8
