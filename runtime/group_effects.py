"""What quantizing groups of operands alone does to the outputs of a model: exact, from its first node on.

The float graph is a chain of segments (`chain.py`); the float values that cross a cut are computed once per
sample. A group is run from the segment of its first node on: segments with nodes of the group have
switches (`switched.py`), those between are those of the chain, and behind the last one a session runs all
that is left at a stretch, for every cut costs ONNX Runtime a fusion and two changes of layout. Cost per
group: the part of the model behind it, about half on average.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.ir.region import extract
from qir.runtime.chain import Chain, State, needed, run_with
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segments import estimated_bytes
from qir.runtime.sensitivity import checked_score
from qir.runtime.session import Session, aligned_copy
from qir.runtime.switched import Switched
from qir.runtime.switches import Choice, Reading, Switchable, switchables
from qir.runtime.twins import Twin, without_quants
from qir.runtime.units import Array, Unit, float_outputs
from qir.runtime.workers import cores, ordered_map

SAMPLES_AT_ONCE = 8
"""Units whose values at a cut are kept, and runs at a time: memory does not grow with units or cores."""
SEGMENTS = 24
"""Into so many parts a model is cut: in the one where a group begins, all nodes are computed."""
_STRETCH = 4
"""After so many segments a session begins that runs all the rest."""
_FEW = 2
"""Up to so many units, to open sessions costs more than to run them: half as many segments, nothing else."""


Scores = tuple[float, ...]
"""One for each metric."""


@dataclass(frozen=True)
class Group:
    """Readings that are rounded together; `name` and `op` are for messages."""

    name: str
    op: str
    choice: Choice


def group_effects(
    graph: Graph,
    groups: Sequence[Group],
    units: Iterable[Unit],
    metrics: Sequence[Metric],
    progress: Progress | None = None,
) -> list[tuple[float, ...]]:
    """For each group the mean over `units` of each metric, with this group quantized and all else in float.

    The score of a unit is the worst of the model's float outputs. Few units are held at a time.
    CalibrationError for outputs that are not finite; ConfigError for a model without float outputs.
    """
    expected = operator.length_hint(units, SAMPLES_AT_ONCE)
    model = _Model(graph, groups, few=expected <= _FEW)
    scores: list[list[Scores]] = [[] for _ in groups]  # by group and unit
    work = len(groups) * -(-expected // SAMPLES_AT_ONCE)
    stream = iter(units)
    with (SILENT if progress is None else progress).task("sensitivity", work) as task:
        while part := list(itertools.islice(stream, SAMPLES_AT_ONCE)):
            runs = [_Run(unit, {n: aligned_copy(a) for n, a in unit.feeds.items()}, {}) for unit in part]
            for run in runs:
                run.expected.update(model.expected(run.state))
            with contextlib.closing(_in_turn(model)) as stages:
                for stage in stages:
                    for found in _scores(model, stage, runs, metrics):
                        for i, score in zip(stage.groups, found, strict=True):
                            scores[i].append(score)
                    task.advance(len(stage.groups))
    equal = tuple(metric.worst(()) for metric in metrics)
    return [tuple(np.mean(found, axis=0).tolist()) if found else equal for found in scores]


@dataclass
class _Run:
    """A unit: the float values before the segment that is at work, and the float outputs of the model."""

    unit: Unit
    state: State
    expected: State


@dataclass(frozen=True)
class _Stage:
    """The groups that begin at a segment, by index, and the open sessions that they need, by segment."""

    place: int
    groups: Sequence[int]
    switched: Mapping[int, Switched]
    rests: Mapping[int, Session]

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        for switched in self.switched.values():
            switched.stop()
        for session in self.rests.values():
            session.stop()


class _Model:
    """The chain of a float graph, and sessions for the groups that begin at one of its segments."""

    def __init__(self, graph: Graph, groups: Sequence[Group], *, few: bool) -> None:
        self._closed, self.groups, self._few = graph, groups, few
        self._floats = without_quants(graph, rounded=False)
        nodes = switchables(graph)
        self.chain = _chain(self._floats, nodes.values(), max(SEGMENTS // 2, 1) if few else SEGMENTS)
        read = set(needed(self._floats.nodes, [v for v in self._floats.outputs if v.producer is not None]))
        places = enumerate(self.chain.links)
        where = {node.name: place for place, link in places for node in link.nodes if node in read}
        self._choices = [_by_node(group.choice) for group in groups]
        self._spans = [_span(choices, where) for choices in self._choices]
        self._forms = _forms(self._choices)
        self._opened = _Stage(0, (), {}, {})

    def expected(self, state: State) -> State:
        """The float outputs of the model; ConfigError when there are none."""
        found = self.chain.outputs(0, dict(state))
        floats = float_outputs(found)
        if not floats:
            raise ConfigError("the model returns no floats that could be compared")
        return floats

    def open(self, place: int) -> _Stage:
        """Open what the groups that begin at a segment need, and let go of what is needed no more."""
        here = [i for i, span in enumerate(self._spans) if span and span[0] == place]
        switched = {key: opened for key, opened in self._opened.switched.items() if key >= place}
        rests = {key: opened for key, opened in self._opened.rests.items() if key > place}
        for i in here:
            for link in self._spans[i]:
                if link not in switched:
                    switched[link] = self._open_switched(link)
            rest = self._rest_after(self._spans[i][-1])
            if rest is not None and rest not in rests:
                rests[rest] = self._open_rest(rest)
        self._opened = _Stage(place, here, switched, rests)
        return self._opened

    def outputs(self, i: int, state: State, stage: _Stage) -> State:
        """The outputs of the model that depend on group `i` of a stage, from a state before that segment."""
        span = self._spans[i]
        rest = self._rest_after(span[-1])
        links = self.chain.links[span[0] : rest]
        choices = self._choices[i]
        found: State = {}
        for place, link in enumerate(links, span[0]):
            if place in span:
                made = stage.switched[place].run(state, choices) if link.session is not None else {}
                link.pass_on(state, made)
            else:
                made = link.run(state)
            found.update((name, array) for name, array in made.items() if name in self.chain.results)
        if rest is not None:
            found.update(run_with(stage.rests[rest], state))
        return found

    def _rest_after(self, place: int) -> int | None:
        """The segment from which on the rest runs at a stretch, when `place` is the last with switches."""
        rest = -(-(place + 1) // _STRETCH) * _STRETCH
        return rest if rest < len(self.chain.links) - 1 and not self._few else None

    def _open_switched(self, place: int) -> Switched:
        link = self.chain.links[place]
        part = extract(self._floats, needed(link.nodes, link.handed_on), link.handed_on)
        return Switched(part, self._closed, self._forms)

    def _open_rest(self, place: int) -> Session:
        links = self.chain.links[place:]
        nodes = [node for link in links for node in link.nodes]
        made = {value for node in nodes for value in node.outputs if value is not None}
        outputs = [value for value in dict.fromkeys(self._floats.outputs) if value in made]
        return Session(extract(self._floats, needed(nodes, outputs), outputs), threads=1)


def _in_turn(model: _Model) -> Generator[_Stage, None, None]:
    """One segment after the other; while the groups of one are run, the sessions of the next are opened."""
    count = len(model.chain.links)
    with ThreadPoolExecutor(1) as beside:
        opening = beside.submit(model.open, 0)
        for place in range(1, count + 1):
            stage = opening.result()
            if place < count:
                opening = beside.submit(model.open, place)
            yield stage


def _chain(floats: Graph, nodes: Iterable[Switchable], segments: int) -> Chain:
    """The float graph, cut into so many parts where results of quantized nodes are small."""
    results = [floats.value(node.result) for node in nodes if floats.has_value(node.result)]
    return Chain(floats, results, max(sum(map(estimated_bytes, results)) // segments, 1))


def _by_node(choice: Choice) -> dict[str, Choice]:
    """The readings of each node."""
    found: dict[str, list[Reading]] = {}
    for reading in sorted(choice):
        found.setdefault(reading.node, []).append(reading)
    return {name: frozenset(readings) for name, readings in found.items()}


def _forms(groups: Iterable[Mapping[str, Choice]]) -> dict[str, tuple[Choice, ...]]:
    """The quantized forms that nodes have in any of the groups."""
    found: dict[str, dict[Choice, None]] = {}
    for choices in groups:
        for name, choice in choices.items():
            found.setdefault(name, {})[choice] = None
    return {name: tuple(forms) for name, forms in found.items()}


def _span(nodes: Iterable[str], where: Mapping[str, int]) -> tuple[int, ...]:
    """The segments with nodes of a group, in order; none of a node that no output depends on."""
    return tuple(sorted({where[name] for name in nodes if name in where}))


def _scores(
    model: _Model, stage: _Stage, runs: Sequence[_Run], metrics: Sequence[Metric]
) -> list[list[Scores]]:
    """By run the scores of the groups that begin at a segment; the runs stand behind it afterwards."""
    link, count = model.chain.links[stage.place], len(stage.groups)

    def stop() -> None:
        model.chain.stop()
        stage.stop()

    def measure(pair: tuple[_Run, int]) -> Scores:
        run, i = pair
        return _worst(model.groups[i], metrics, run, model.outputs(i, dict(run.state), stage))

    workers = min(cores(), SAMPLES_AT_ONCE)
    pairs = [(run, i) for run in runs for i in stage.groups]  # few units, too, keep all cores at work
    found = list(ordered_map(measure, pairs, workers, stop))
    for _ in ordered_map(lambda run: link.run(run.state), runs, workers, stop):
        pass
    return [found[k * count : (k + 1) * count] for k in range(len(runs))]


def _worst(group: Group, metrics: Sequence[Metric], run: _Run, found: Mapping[str, Array]) -> Scores:
    """The worst scores of the float outputs of the model; those that are not in `found` are as they were."""
    layer = Twin(group.name, group.op, "", "")
    changed = float_outputs({name: array for name, array in found.items() if name in run.expected})
    return tuple(
        metric.worst(
            [
                checked_score(layer, metric, run.expected[name], array, run.unit.where)
                for name, array in changed.items()
            ]
        )
        for metric in metrics
    )
