"""What quantizing one layer alone does to the outputs of the model: exact, and one run per layer.

A run does not begin at the inputs. The graph is a chain of segments, each a session in plain float; the float
values that cross a cut are computed once per sample. Within a segment the results of all quantized twins are
computed at once, a small session per layer makes of its twin's result what the segment would hand on, and
the segments behind it do the rest. Cost per layer: the part of the model behind it, about half on average.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.walk import readings
from qir.runtime.chain import Chain, Link, State, needed, run_with
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segments import estimated_bytes
from qir.runtime.sensitivity import Sensitivity, checked_score
from qir.runtime.session import Session, aligned_copy
from qir.runtime.twins import Twin, with_twins
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

SEGMENTS = 12
"""Into so many parts a model is cut: more make the layers' own sessions smaller, and the chain slower."""


def measure_isolated(
    graph: Graph,
    data: CalibrationData,
    metric: Metric,
    *,
    samples: int = 8,
    progress: Progress | None = None,
) -> Sensitivity:
    """Score each quantized layer of a closed graph by the outputs of the model with it alone quantized.

    The score of a sample is the worst that `metric` gives for a float output of the model; that of the layer
    is the mean over the first `samples` units, of which the values at one cut are held. Errors as in
    `measure_sensitivity`.
    """
    doubled, twins = with_twins(graph)
    units = _units(graph, data, samples)
    scores: dict[str, float] = {}
    with (SILENT if progress is None else progress).task("sensitivity", len(twins)) as task:
        chain = _float_chain(doubled, twins)
        runs = [_Run(unit, {n: aligned_copy(a) for n, a in unit.feeds.items()}, {}) for unit in units]
        for run in runs:
            run.expected.update(chain.outputs(0, dict(run.state)))
        for place in range(len(chain.links)):
            found = _link_scores(_Study(doubled, chain, place, twins), runs, metric)
            scores.update(found)
            task.advance(len(found))
    unread = metric.worst(())
    return Sensitivity(metric, len(units), {t.layer: scores.get(t.layer, unread) for t in twins})


def _units(graph: Graph, data: CalibrationData, samples: int) -> list[Unit]:
    session = functools.cache(lambda: Session(graph, threads=1))  # most data need no run
    return list(itertools.islice(data.units(lambda feeds: session().run(feeds, session().outputs)), samples))


def _float_chain(doubled: Graph, twins: Sequence[Twin]) -> Chain:
    """The chain of the graph without its twins."""
    made = [value for value in dict.fromkeys(doubled.outputs) if value.producer is not None]
    plain = extract(doubled, needed(doubled.nodes, made), made)
    results = [plain.value(t.float_value) for t in twins if plain.has_value(t.float_value)]
    return Chain(plain, results, max(sum(map(estimated_bytes, results)) // SEGMENTS, 1))


@dataclass
class _Run:
    """A sample: the float values before the segment that is at work, and the float outputs of the model."""

    unit: Unit
    state: State
    expected: State

    @property
    def values(self) -> State:
        """All values that are there: an input may be needed again when no later segment reads it."""
        return {**self.unit.feeds, **self.state}


@dataclass(frozen=True)
class _Tail:
    """What depends on one layer within its segment: a session, if anything is computed there.

    It gets the twin's result in place of the layer's own. `is_handed_on`: later segments read that, too.
    """

    twin: Twin
    graph: Graph | None
    session: Session | None
    is_handed_on: bool

    def run(self, values: Mapping[str, Array]) -> State:
        """What the segment hands on that depends on the layer."""
        result = values[self.twin.twin_value]
        found = {self.twin.float_value: result} if self.is_handed_on else {}
        if self.session is not None:
            found.update(run_with(self.session, {**values, self.twin.float_value: result}))
        return found


class _Study:
    """The layers of one segment, and sessions for all that is to be computed within it."""

    def __init__(self, doubled: Graph, chain: Chain, place: int, twins: Sequence[Twin]) -> None:
        self.chain, self.place = chain, place
        link = chain.links[place]
        made = {v.name: v for node in link.nodes for v in node.outputs if v is not None}
        here = [twin for twin in twins if twin.float_value in made]
        self.tails = [_tail(link, twin, made[twin.float_value]) for twin in here]
        self._twins = _twin_session(doubled, link, self.tails)

    def values(self, run: _Run) -> State:
        """The results of the twins and what else the tails read, beside the values before the segment."""
        there = run.values
        return there if self._twins is None else {**there, **run_with(self._twins, there)}

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        self.chain.stop()
        for session in (self._twins, *(tail.session for tail in self.tails)):
            if session is not None:
                session.stop()


def _tail(link: Link, twin: Twin, result: Value) -> _Tail:
    """What of a segment depends on the `result` of a layer."""
    changed = {result}
    for node in link.nodes:
        if any(value in changed for value in readings(node)):
            changed.update(value for value in node.outputs if value is not None)
    outputs = [v for v in link.handed_on if v in changed and v is not result]
    graph = session = None
    if outputs:
        unchanged = _feedable(link.nodes, changed)
        nodes = needed(link.nodes, outputs, [result, *unchanged])
        assert result.producer is not None
        graph = extract(result.graph, nodes, outputs)
        session = Session(graph, threads=1, shared=True)
    return _Tail(twin, graph, session, result in link.handed_on)


def _feedable(nodes: Sequence[Node], changed: set[Value]) -> list[Value]:
    """Values made by `nodes`, not `changed`, that a session can take as inputs: tensors of known type."""
    made = (value for node in nodes for value in node.outputs if value is not None)
    return [value for value in made if value not in changed and value.tensor.dtype is not None]


def _twin_session(doubled: Graph, link: Link, tails: Sequence[_Tail]) -> Session | None:
    """Computes the results of the twins, and what tails read of the segment, from the values before it."""
    names = [tail.twin.twin_value for tail in tails]
    for tail in tails:
        inputs = () if tail.graph is None else tail.graph.inputs
        names += [value.name for value in inputs if value.name != tail.twin.float_value]
    wanted = [doubled.value(name) for name in dict.fromkeys(names)]
    given = [doubled.value(name) for name in link.reached]
    outputs = [value for value in wanted if value not in given and value.producer is not None]
    if not outputs:
        return None
    return Session(extract(doubled, needed(doubled.nodes, outputs, given), outputs), threads=1, shared=True)


def _link_scores(study: _Study, runs: Sequence[_Run], metric: Metric) -> dict[str, float]:
    """The scores of the layers of a segment; the runs stand behind it afterwards."""

    def measure(run: _Run) -> list[float]:
        values = study.values(run)
        study.chain.links[study.place].run(run.state)
        scores = []
        for tail in study.tails:
            found = study.chain.outputs(study.place + 1, {**run.state, **tail.run(values)})
            scores.append(_worst(tail.twin, metric, run, found))
        return scores

    found = list(ordered_map(measure, runs, cores(), study.stop))
    means = np.mean(found, axis=0).tolist() if found else []
    return dict(zip((tail.twin.layer for tail in study.tails), means, strict=bool(found)))


def _worst(twin: Twin, metric: Metric, run: _Run, found: Mapping[str, Array]) -> float:
    """The worst score of a float output of the model; those that are not in `found` are as they were."""
    return metric.worst(
        [
            checked_score(twin, metric, run.expected[name], array, run.unit.where)
            for name, array in found.items()
            if array.dtype.kind == "f"
        ]
    )
