"""A float graph as a chain of sessions, any of which can be entered with values other than the float ones.

Whatever runs in parts (calibration, layers measured one by one, bias correction) runs in such links.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.walk import readings
from qir.runtime.segments import Segment, infer_anew, split
from qir.runtime.session import Session
from qir.runtime.units import Array

State = dict[str, Array]
"""Values by name: those that cross a cut, or the outputs of the graph."""


@dataclass(frozen=True)
class Link:
    """A segment of a graph: its nodes, and the values that it hands on, in a session (None: it has none)."""

    nodes: tuple[Node, ...]
    segment: Segment
    handed_on: tuple[Value, ...]
    session: Session | None

    def run(self, state: State) -> State:
        """What it hands on; takes out of `state` what is read no more, and puts in what later ones read."""
        made = {} if self.session is None else run_with(self.session, state)
        self.pass_on(state, made)
        return made

    def pass_on(self, state: State, made: Mapping[str, Array]) -> None:
        """Bring a state behind this segment, which has `made` what it hands on."""
        for name in self.segment.last_read:
            state.pop(name, None)
        state.update((name, array) for name, array in made.items() if name in self.segment.kept)


class Chain:
    """The segments of a graph in running order, each a session that runs in the thread that calls."""

    def __init__(self, graph: Graph, taps: Sequence[Value], limit: int, *, fetch: bool = False) -> None:
        """`taps` and `limit` say where to cut, as in `split`; with `fetch`, taps are handed on.

        The types of what nodes make are inferred anew.
        """
        infer_anew(graph)
        self.results = frozenset(value.name for value in graph.outputs)
        tapped = {value.name for value in taps} if fetch else set()
        self.links = [self._link(graph, segment, tapped) for segment in split(graph, taps, limit)]

    def _link(self, graph: Graph, segment: Segment, tapped: Set[str]) -> Link:
        nodes = tuple(graph.node(node.name) for node in segment.graph.nodes)
        wanted = segment.kept | self.results | tapped
        values = tuple(graph.value(v.name) for v in segment.graph.outputs if v.name in wanted)
        session = None
        if len(values) == len(segment.graph.outputs):
            session = Session(segment.graph, threads=1, shared=True)
        elif values:
            session = Session(extract(graph, needed(nodes, values), values), threads=1, shared=True)
        return Link(nodes, segment, values, session)

    def outputs(self, place: int, state: State) -> State:
        """The outputs of the graph that links from `place` on make of a state before them, which is used up.

        Those that are in the state already are among them.
        """
        found = {name: array for name, array in state.items() if name in self.results}
        for link in self.links[place:]:
            made = link.run(state)
            found.update((name, array) for name, array in made.items() if name in self.results)
        return found

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        for link in self.links:
            if link.session is not None:
                link.session.stop()


def run_with(session: Session, values: Mapping[str, Array]) -> State:
    """The outputs of a session that takes its inputs from among `values`."""
    return session.run({name: values[name] for name in session.inputs}, session.outputs)


def needed(nodes: Sequence[Node], wanted: Collection[Value], given: Collection[Value] = ()) -> list[Node]:
    """Those of `nodes` that `wanted` values depend on, in running order; what is `given` need not be made."""
    there = set(given)
    missing, found = set(wanted) - there, []
    for node in reversed(nodes):
        if any(value in missing for value in node.outputs if value is not None):
            found.append(node)
            missing.update(value for value in readings(node) if value not in there)
    return found[::-1]
