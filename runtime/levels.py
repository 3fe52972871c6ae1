"""A graph in steps, each of which ends with results of layers, such as do not depend on one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings
from qir.runtime.chain import Link, needed
from qir.runtime.segments import Segment, estimated_bytes
from qir.runtime.session import Session


@dataclass(frozen=True)
class Step:
    """A part of a graph that ends with the results of layers, by name."""

    part: Segment | None
    results: tuple[str, ...]

    def link(self) -> Link:
        """Opens a session for the part, if there is anything to compute."""
        if self.part is None:
            return Link((), Segment(Graph(), frozenset()), (), None)
        graph = self.part.graph
        return Link(graph.nodes, self.part, graph.outputs, Session(graph, threads=1, shared=True))


def steps_of(graph: Graph, results: Collection[str], limit: int = 0) -> list[Step]:
    """All nodes that results and outputs depend on; results of later steps depend on earlier ones.

    Levels of results that have `limit` bytes at most together are one step. What later steps read stays in
    the state until then, outputs of the graph to the end; results are among what a step makes. Values that a
    session cannot take as input (no tensors, or of unknown type) are computed again in each step that needs
    them. Types must be right (`infer_anew`), or say nothing.
    """
    ends = [graph.value(name) for name in results]
    levels = _together(_by_level(graph, ends), limit)
    parts = list(_parts(graph, [*levels, list(dict.fromkeys(graph.outputs))]))
    last = {value.name: i for i, (part, _) in enumerate(parts) if part is not None for value in part.inputs}
    returned = {value.name for value in graph.outputs}
    steps: list[Step] = []
    for i, (part, wanted) in enumerate(parts):
        segment = None
        if part is not None:
            names = {value.name for value in (*part.inputs, *part.outputs)}
            later = {name for name in names if last.get(name, -1) > i}
            segment = Segment(part, frozenset(later | names & returned))
        is_last = i == len(parts) - 1  # makes outputs, some of which may be results of steps before
        steps.append(Step(segment, () if is_last else tuple(wanted)))
    return steps


def _together(levels: Sequence[Sequence[Value]], limit: int) -> list[list[Value]]:
    """Levels that follow one another as one, as long as their values fit in `limit` bytes."""
    found: list[list[Value]] = []
    size = 0
    for level in levels:
        added = sum(estimated_bytes(value) for value in level)
        if not found or size + added > limit:
            found.append([])
            size = 0
        found[-1] += level
        size += added
    return found


def _by_level(graph: Graph, results: Sequence[Value]) -> list[list[Value]]:
    """The results by the number of other results on the longest way to them."""
    levels: dict[Value, int] = {}
    found: list[list[Value]] = []
    for node in graph.nodes:
        level = max((levels.get(value, 0) for value in readings(node)), default=0)
        for value in (v for v in node.outputs if v is not None):
            levels[value] = level
            if value in results:
                found += [[] for _ in range(level + 1 - len(found))]
                found[level].append(value)
                levels[value] = level + 1
    return found


def _parts(graph: Graph, ends: Sequence[Sequence[Value]]) -> Iterator[tuple[Graph | None, list[str]]]:
    """For each of the ends the graph that makes them of what is there, and their names."""
    nodes, done = graph.nodes, set[Node]()
    there = set(graph.inputs)
    for wanted, own in zip(ends, _first_needed(nodes, ends), strict=True):
        missing = [v for v in wanted if v not in there and v.producer is not None]
        chosen = own if _can_be_made(own, missing, there) else needed(nodes, missing, there)
        done |= set(chosen)
        outputs = dict.fromkeys(missing)
        for value in (v for node in chosen for v in node.outputs if v is not None and _is_feedable(v)):
            if value.is_output or any(use.node not in done for use in value.uses):
                outputs[value] = None
        there |= {value for value in outputs if _is_feedable(value)}
        yield (extract(graph, chosen, list(outputs)) if outputs else None), [v.name for v in wanted]


def _first_needed(nodes: Sequence[Node], ends: Sequence[Sequence[Value]]) -> list[list[Node]]:
    """The nodes that each of the ends is the first to need, in running order."""
    first: dict[Value, int] = {}
    for i in reversed(range(len(ends))):
        first.update(dict.fromkeys(ends[i], i))
    found: list[list[Node]] = [[] for _ in ends]
    for node in reversed(nodes):
        places = [first[value] for value in node.outputs if value is not None and value in first]
        if places:
            place = min(places)
            found[place].append(node)
            for value in readings(node):
                first[value] = min(place, first.get(value, place))
    return [part[::-1] for part in found]


def _can_be_made(nodes: Collection[Node], wanted: Collection[Value], there: Set[Value]) -> bool:
    """Whether nodes find what they read; values that no session takes as input are not there."""
    chosen = set(nodes)
    read = (value for node in nodes for value in readings(node) if value not in there)
    return all(v.producer is None or v.producer in chosen for v in (*wanted, *read))


def _is_feedable(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype is not None
