"""A graph in steps, each of which ends with the results of layers that do not depend on one another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings
from qir.runtime.session import Session
from qir.runtime.units import Array


@dataclass(frozen=True)
class Step:
    """A part of a graph: `results` are those of its layers, `dropped` the values that no later step reads."""

    graph: Graph | None
    results: tuple[str, ...]
    dropped: tuple[str, ...]

    def session(self) -> Session | None:
        """Runs the part, in the thread that calls; None when there is nothing to compute."""
        return None if self.graph is None else Session(self.graph, threads=1, shared=True)

    def run(self, session: Session | None, state: dict[str, Array]) -> None:
        """Put what the part makes into `state`, and take out what is read no more."""
        if session is not None:
            state.update(session.run({name: state[name] for name in session.inputs}))
        for name in self.dropped:
            state.pop(name, None)


def steps_of(graph: Graph, results: Collection[str]) -> list[Step]:
    """All nodes that results and outputs depend on; results of later steps depend on earlier ones.

    Outputs of the graph stay in the state to the end. Values that a session cannot take as input (no tensors,
    or of unknown type) are computed again in each step that needs them.
    """
    ends = [graph.value(name) for name in results]
    parts = list(_parts(graph, [*_by_level(graph, ends), list(dict.fromkeys(graph.outputs))]))
    last = {value.name: i for i, (part, _) in enumerate(parts) if part is not None for value in part.inputs}
    kept = {value.name for value in graph.outputs}
    steps: list[Step] = []
    held = {value.name for value in graph.inputs}
    for i, (part, wanted) in enumerate(parts):
        held |= set() if part is None else {value.name for value in part.outputs}
        dropped = sorted(name for name in held if last.get(name, -1) <= i and name not in kept)
        dropped = [name for name in dropped if name not in wanted]
        held -= set(dropped)
        is_last = i == len(parts) - 1  # makes outputs, some of which may be results of steps before
        steps.append(Step(part, () if is_last else tuple(wanted), tuple(dropped)))
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
        chosen = _needed(nodes, missing, there)
        done |= set(chosen)
        outputs = dict.fromkeys(missing)
        for value in (v for node in chosen for v in node.outputs if v is not None and _is_feedable(v)):
            if value.is_output or any(use.node not in done for use in value.uses):
                outputs[value] = None
        there |= {value for value in outputs if _is_feedable(value)}
        yield (extract(graph, chosen, list(outputs)) if outputs else None), [v.name for v in wanted]


def _needed(nodes: Sequence[Node], wanted: Collection[Value], there: Collection[Value]) -> list[Node]:
    """Those of `nodes` that `wanted` values are made of, from values that are `there`."""
    missing, found = set(wanted), []
    for node in reversed(nodes):
        if any(value in missing for value in node.outputs if value is not None):
            found.append(node)
            missing.update(value for value in readings(node) if value not in there)
    return found[::-1]


def _is_feedable(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype is not None
