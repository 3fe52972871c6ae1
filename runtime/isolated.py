"""What quantizing one layer alone does to the outputs of the model: exact, and one run per layer.

A run does not begin at the inputs. The graph is cut into segments; the float values that cross a cut are
computed once per sample, and a layer's run starts from the cut before it. One session serves all layers of a
segment: there, each is computed in float and quantized, and a switch, an input of the session, chooses which
goes on; behind the segment the session is plain float. Cost per layer: the part of the model behind its cut,
half of it on average, and one segment twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segments import Segment, estimated_bytes, split
from qir.runtime.sensitivity import Sensitivity, checked_score
from qir.runtime.session import Session, aligned_copy
from qir.runtime.twins import Twin, with_twins
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

SEGMENTS = 16
"""Into so many parts a model is cut: more save little, and each costs the loading of a session."""


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
    display = SILENT if progress is None else progress
    units = _units(graph, data, samples)
    states = [{name: aligned_copy(array) for name, array in unit.feeds.items()} for unit in units]
    totals: dict[str, float] = {}
    with display.task("sensitivity", len(twins)) as task:
        for part in _parts(doubled, twins):
            for twin, score in _scores(part, states, metric, [unit.where for unit in units]):
                totals[twin.layer] = score
                task.advance()
            states = _advance(part, states)
    return Sensitivity(metric, len(units), {t.layer: totals[t.layer] for t in twins})


def _units(graph: Graph, data: CalibrationData, samples: int) -> list[Unit]:
    session = Session(graph, threads=1)
    return list(itertools.islice(data.units(lambda feeds: session.run(feeds, session.outputs)), samples))


@dataclass(frozen=True)
class _Part:
    """A segment: `rest` computes the outputs from the cut before it, `step` what later segments read.

    `switches` maps a layer to the input of `rest` that chooses its twin.
    """

    rest: Graph
    step: Segment
    twins: tuple[Twin, ...]
    switches: Mapping[str, str]


def _parts(doubled: Graph, twins: Sequence[Twin]) -> list[_Part]:
    """The parts of a graph with twins, in running order."""
    plain = extract(doubled, _needed(doubled.nodes, doubled), _made(doubled.outputs))
    results = [plain.value(t.float_value) for t in twins if plain.has_value(t.float_value)]
    limit = sum(map(estimated_bytes, results)) // SEGMENTS
    parts: list[_Part] = []
    done: set[str] = set()
    for segment in split(plain, results, max(limit, 1)):
        names = {node.name for node in segment.graph.nodes}
        here = tuple(t for t in twins if t.layer in names)
        parts.append(_part(doubled, done, here, segment))
        done |= names
    return parts


def _part(doubled: Graph, done: Set[str], twins: tuple[Twin, ...], step: Segment) -> _Part:
    """One part; nodes called `done` belong to earlier ones."""
    copy = doubled.clone()
    switches = {twin.layer: _switch(copy, twin) for twin in twins}
    nodes = _needed([n for n in copy.nodes if n.name not in done], copy)
    outputs = [v for v in _made(copy.outputs) if v.producer in nodes]
    return _Part(extract(copy, nodes, outputs), step, twins, switches)


def _switch(graph: Graph, twin: Twin) -> str:
    """Let all readers of a layer read what an input of the graph chooses; returns the name of that input."""
    value, other = graph.value(twin.float_value), graph.value(twin.twin_value)
    flag = graph.add_input(graph.unique_value_name(f"{twin.layer}.switch"), TensorType(DType.BOOL, ()))
    nodes = graph.nodes
    last = max(nodes.index(v.producer) for v in (value, other) if v.producer is not None)
    behind = nodes[last + 1] if last + 1 < len(nodes) else None
    graph.opsets.setdefault("", 13)
    chosen = graph.add(
        "Where", [flag, other, value], name=graph.unique_node_name(f"{twin.layer}.switch"),
        types=[value.type], before=behind,
    )  # fmt: skip
    for node, index in value.uses:
        if node is not chosen:
            node.set_input(index, chosen.output)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.set_output(index, chosen.output)
    return flag.name


def _made(values: Sequence[Value]) -> list[Value]:
    """Those that a node makes, each once."""
    return list(dict.fromkeys(v for v in values if v.producer is not None))


def _needed(nodes: Sequence[Node], graph: Graph) -> dict[Node, None]:
    """Those of `nodes` that the outputs of the graph depend on, in running order."""
    wanted, found = set(graph.outputs), []
    for node in reversed(nodes):
        if any(v in wanted for v in node.outputs if v is not None):
            found.append(node)
            wanted.update(readings(node))
    return dict.fromkeys(reversed(found))


def _scores(
    part: _Part, states: Sequence[Mapping[str, Array]], metric: Metric, places: Sequence[str]
) -> Iterator[tuple[Twin, float]]:
    """The layers of a part with their scores."""
    if not part.twins:
        return
    session = Session(part.rest, threads=1)
    off = {name: np.zeros((), np.bool_) for name in part.switches.values()}
    feeds = [{n: s[n] for n in session.inputs if n not in off} for s in states]
    expected = [session.run({**feed, **off}, session.outputs) for feed in feeds]

    def run(task: tuple[Twin, int]) -> float:
        twin, i = task
        on = {**off, part.switches[twin.layer]: np.ones((), np.bool_)}
        found = session.run({**feeds[i], **on}, session.outputs)
        scores = [
            checked_score(twin, metric, array, found[name], places[i])
            for name, array in expected[i].items()
            if array.dtype.kind == "f"
        ]
        return metric.worst(scores)

    tasks = [(twin, i) for twin in part.twins for i in range(len(states))]
    results = ordered_map(run, tasks, cores(), session.stop)
    for twin in part.twins:
        yield twin, float(np.mean(list(itertools.islice(results, len(states)))))


def _advance(part: _Part, states: Sequence[dict[str, Array]]) -> list[dict[str, Array]]:
    """The values that cross the cut behind a part, of all samples."""
    session = Session(part.step.graph, threads=1)
    found = [{**s, **session.run({n: s[n] for n in session.inputs})} for s in states]
    return [{n: a for n, a in state.items() if n not in part.step.last_read} for state in found]
