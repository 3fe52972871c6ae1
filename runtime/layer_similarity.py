"""How near each layer of a quantized graph is to the float one: everything quantized, and this layer alone.

Both graphs run in segments, in step, so that few tensors exist at a time, and all layers come from one run
over the samples. Sums are float64 in the order of the samples: the result does not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from qir.ir.graph import Graph
from qir.runtime.compare import OutputComparison, Pair, PairSums, PairTotal, pair_sums
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segmented import SegmentedSession
from qir.runtime.twins import with_twins
from qir.runtime.units import Array, Unit
from qir.runtime.workers import cores, ordered_map

_Found = Mapping[str, "tuple[int, PairSums] | None"]
_Place = tuple[int, str]
"""A value of one of the sessions: its number and the name."""


class Paired(NamedTuple):
    """A layer and its result in a float and in a quantized graph."""

    layer: str
    pair: Pair


def cumulative_similarity(
    reference: Graph,
    candidate: Graph,
    layers: Sequence[Paired],
    units: Sequence[Unit],
    progress: Progress | None = None,
) -> dict[str, OutputComparison]:
    """Results of `layers` in two graphs that compute on the same inputs, by layer.

    Layers whose results hold no numbers are left out. QirError when a graph does not run.
    """
    sides = [
        SegmentedSession(graph, [graph.value(name) for name in dict.fromkeys(names)])
        for graph, names in (
            (reference, [item.pair.reference for item in layers]),
            (candidate, [item.pair.candidate for item in layers]),
        )
    ]
    return _compared(_InStep(sides, layers), layers, units, "cumulative similarity", progress)


def isolated_similarity(
    graph: Graph, units: Sequence[Unit], progress: Progress | None = None
) -> dict[str, OutputComparison]:
    """Results of each quantized layer of a closed graph and of its twin in float, on the float input.

    PassError for open quants.
    """
    doubled, twins = with_twins(graph)
    layers = [Paired(t.layer, Pair(t.float_value, t.twin_value)) for t in twins]
    names = dict.fromkeys(name for item in layers for name in (item.pair.reference, item.pair.candidate))
    session = SegmentedSession(doubled, [doubled.value(name) for name in names])
    return _compared(_InStep([session], layers), layers, units, "isolated similarity", progress)


class _InStep:
    """Runs one session, or two side by side, and compares pairs as soon as both of their values are there."""

    def __init__(self, sessions: Sequence[SegmentedSession], layers: Sequence[Paired]) -> None:
        """References are values of the first session, candidates of the last."""
        self._sessions = sessions
        last = len(sessions) - 1
        self._places = {p.layer: ((0, p.pair.reference), (last, p.pair.candidate)) for p in layers}
        self._pairs = {item.layer: item.pair for item in layers}

    def stop(self) -> None:
        """Make the runs under way fail soon."""
        for session in self._sessions:
            session.stop()

    def run(self, unit: Unit) -> _Found:
        """The sums of each layer for one unit."""
        found: dict[str, tuple[int, PairSums] | None] = {}
        held: dict[_Place, Array] = {}
        waiting = dict(self._places)
        for side, tensors in self._stages(unit):
            held.update(((side, name), array) for name, array in tensors.items())
            tensors.clear()
            for layer, (a, b) in tuple(waiting.items()):
                if a in held and b in held:
                    found[layer] = pair_sums(held[a], held[b], self._pairs[layer], unit.where)
                    del waiting[layer]
            needed = {place for places in waiting.values() for place in places}
            held = {place: array for place, array in held.items() if place in needed}
        return found

    def _stages(self, unit: Unit) -> Iterator[tuple[int, dict[str, Array]]]:
        """What each session hands out, always from the one that has handed out least, until all ended."""
        runs = {side: session.stages(unit.feeds, {}) for side, session in enumerate(self._sessions)}
        counts = dict.fromkeys(runs, 0)
        while runs:
            side = min(runs, key=counts.__getitem__)
            tensors = next(runs[side], None)
            if tensors is None:
                del runs[side]
            else:
                counts[side] += len(tensors)
                yield side, tensors


def _compared(
    runner: _InStep,
    layers: Sequence[Paired],
    units: Sequence[Unit],
    task_name: str,
    progress: Progress | None,
) -> dict[str, OutputComparison]:
    totals = {item.layer: PairTotal(item.layer) for item in layers}
    with (SILENT if progress is None else progress).task(task_name, len(units)) as task:
        for found in ordered_map(runner.run, units, cores(), runner.stop):
            for layer, sums in found.items():
                totals[layer].add(sums)
            task.advance()
    made = ((layer, total.comparison()) for layer, total in totals.items())
    return {layer: comparison for layer, comparison in made if comparison is not None}
