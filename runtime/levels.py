"""A graph in steps, each of which ends with the results of layers that do not depend on one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings
from qir.runtime.chain import Link, needed
from qir.runtime.segments import Segment, infer_anew
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


def steps_of(graph: Graph, results: Collection[str]) -> list[Step]:
    """All nodes that results and outputs depend on; results of later steps depend on earlier ones.

    Results and outputs of the graph stay in the state until the last step that reads them, outputs to the
    end. Values that a session cannot take as input (no tensors, or of unknown type) are computed again in
    each step that needs them. The types of what nodes make are inferred anew.
    """
    infer_anew(graph)
    ends = [graph.value(name) for name in results]
    parts = list(_parts(graph, [*_by_level(graph, ends), list(dict.fromkeys(graph.outputs))]))
    last = {value.name: i for i, (part, _) in enumerate(parts) if part is not None for value in part.inputs}
    returned = {value.name for value in graph.outputs}
    steps: list[Step] = []
    for i, (part, wanted) in enumerate(parts):
        segment = None
        if part is not None:
            names = {value.name for value in (*part.inputs, *part.outputs)}
            later = {name for name in names if last.get(name, -1) > i}
            segment = Segment(part, frozenset(later | names & {*returned, *wanted}))
        is_last = i == len(parts) - 1  # makes outputs, some of which may be results of steps before
        steps.append(Step(segment, () if is_last else tuple(wanted)))
    return steps


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
    for wanted in ends:
        missing = [v for v in wanted if v not in there and v.producer is not None]
        chosen = needed(nodes, missing, there)
        done |= set(chosen)
        outputs = dict.fromkeys(missing)
        for value in (v for node in chosen for v in node.outputs if v is not None and _is_feedable(v)):
            if value.is_output or any(use.node not in done for use in value.uses):
                outputs[value] = None
        there |= {value for value in outputs if _is_feedable(value)}
        yield (extract(graph, chosen, list(outputs)) if outputs else None), [v.name for v in wanted]


def _is_feedable(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype is not None
