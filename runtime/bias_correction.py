"""How far quantization shifts the mean of each layer's output channels, layer after layer.

The float and the quantized model are one graph (`shadows.py`), which runs step by step (`levels.py`) on a
few samples that are all kept at one step. The shift of a layer is mean(float output - quantized output) per
channel, where the quantized output comes of all layers before, quantized and corrected; adding it to the
bias is adding it to the output, so that nothing runs twice. One pass over both outputs (`mean_errors.py`)
gives the shift, and the metric before and after it. Cost per sample: a forward of the float model and one of
the quantized model, in steps, and for the first `JUDGED` samples one of the quantized model as it was.
Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, with data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qir.ir.graph import Graph
from qir.ir.quants import unquantized
from qir.runtime.chain import State
from qir.runtime.levels import Step, steps_of
from qir.runtime.mean_errors import ChannelSums, channel_sums, follows_from_sums, mean_error, shifted
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.sensitivity import checked_score
from qir.runtime.session import Session, aligned_copy
from qir.runtime.shadows import with_shadows
from qir.runtime.switches import switchables
from qir.runtime.twins import Twin, without_quants
from qir.runtime.units import CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

JUDGED = 4
"""Samples on which the model's outputs are compared at the end, for which the model as it was must run."""
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Output:
    """What a layer gives: the name of the value, and the axis of its channels."""

    layer: str
    op: str
    value: str
    axis: int


@dataclass(frozen=True)
class Correction:
    """What to add to each output channel of a layer, and the mean of the metric without and with it."""

    shift: F64
    before: float
    after: float
    kept: bool


@dataclass(frozen=True)
class Corrections:
    """By layer; `before` and `after` are of the model's outputs, without any and with the kept ones.

    These are scores of the first `JUDGED` samples.
    """

    samples: int
    layers: Mapping[str, Correction]
    before: float
    after: float


@dataclass
class _Run:
    """A sample, the values of both models that are needed later, and corrections still to be made."""

    unit: Unit
    state: State
    shifts: list[tuple[str, F64, int]] = field(default_factory=list)

    def apply(self) -> None:
        """Shift the quantized outputs whose corrections are kept."""
        for name, shift, axis in self.shifts:
            self.state[name] = shifted(self.state[name], shift, axis)
        self.shifts.clear()


def measure_corrections(
    graph: Graph,
    outputs: Sequence[Output],
    data: CalibrationData,
    metric: Metric,
    *,
    samples: int,
    progress: Progress | None = None,
) -> Corrections:
    """Corrections of the layers that give `outputs`, judged by `metric` on the first `samples` units.

    Biases may be open. A correction is kept when it improves the mean of the metric over the samples.
    CalibrationError for values that are not finite; PassError for open quants of inputs and weights.
    """
    plain = Session(without_quants(graph, rounded=True), threads=1)
    units = list(itertools.islice(data.units(lambda feeds: plain.run(feeds, plain.outputs)), samples))
    runs = [_Run(unit, {n: aligned_copy(a) for n, a in unit.feeds.items()}) for unit in units]
    doubled, shadows = _doubled(graph)
    by_shadow = {shadows[output.value]: output for output in outputs}
    found: dict[str, Correction] = {}
    with (
        (SILENT if progress is None else progress).task("correct-bias", len(outputs)) as task,
        ThreadPoolExecutor(cores(), thread_name_prefix="qir") as pool,
    ):
        for step in steps_of(doubled, [name for s, o in by_shadow.items() for name in (o.value, s)]):
            results = {name: by_shadow[name] for name in step.results if name in by_shadow}
            for (name, output), sums in zip(
                results.items(), _advance(runs, step, results, pool), strict=True
            ):
                found[output.layer] = _corrected(runs, name, output, sums, metric)
                task.advance()
    for run in runs:
        run.apply()
    names = [value.name for value in dict.fromkeys(graph.outputs)]
    floats = [{name: run.state[unquantized(graph.value(name)).name] for name in names} for run in runs]
    corrected = [{n: run.state[shadows.get(n, n)] for n in floats[0]} for run in runs]
    after = before = _model_score(metric, units, floats, corrected)
    if any(correction.kept for correction in found.values()):
        few = units[:JUDGED]
        quantized = ordered_map(lambda unit: plain.run(unit.feeds, names), few, cores(), plain.stop)
        before = _model_score(metric, few, floats[:JUDGED], list(quantized))
        after = _model_score(metric, few, floats[:JUDGED], corrected[:JUDGED])
    return Corrections(len(runs), {o.layer: found[o.layer] for o in outputs}, before, after)


def _doubled(graph: Graph) -> tuple[Graph, Mapping[str, str]]:
    """Both models in one graph, which returns the outputs of both, and what stands for a float value."""
    nodes = switchables(graph).values()
    choice = frozenset(reading for node in nodes for reading in (*node.weights, *node.activations))
    doubled, (shadows,) = with_shadows(graph, [choice])
    for value in dict.fromkeys(doubled.outputs):
        if value.name in shadows:
            doubled.add_output(doubled.value(shadows[value.name]))
    return doubled, shadows


def _advance(
    runs: Sequence[_Run], step: Step, results: Mapping[str, Output], pool: Executor
) -> list[list[ChannelSums | None]]:
    """Run a step of both models on all samples: for each of the results its sums in each sample."""
    link = step.link()

    def run(item: _Run) -> list[ChannelSums | None]:
        item.apply()
        link.run(item.state)
        return [channel_sums(item.state[o.value], item.state[n], o.axis) for n, o in results.items()]

    rows = [future.result() for future in [pool.submit(run, item) for item in runs]]
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in results]


def _corrected(
    runs: Sequence[_Run], name: str, output: Output, sums: Sequence[ChannelSums | None], metric: Metric
) -> Correction:
    """The correction of a layer; when it is kept, the runs shift the quantized output before they go on."""
    channels = runs[0].state[name].shape[output.axis] if runs else 0
    shift = mean_error(sums, channels)
    judged = [_judged(run, name, output, each, shift, metric) for run, each in zip(runs, sums, strict=True)]
    before, after = (float(np.mean([item[i] for item in judged])) if judged else 0.0 for i in (0, 1))
    kept = metric.is_better(after, before)
    if kept:
        for run in runs:
            run.shifts.append((name, shift, output.axis))
    return Correction(shift, before, after, kept)


def _judged(
    run: _Run, name: str, output: Output, sums: ChannelSums | None, shift: F64, metric: Metric
) -> tuple[float, float]:
    """The metric of an output as it is, and shifted."""
    if sums is not None and follows_from_sums(metric):
        before, after = sums.score(metric, np.zeros_like(shift)), sums.score(metric, shift)
        if not math.isnan(before + after):
            return before, after
    expected, found = run.state[output.value], run.state[name]
    twin = Twin(output.layer, output.op, output.value, output.value)
    moved = shifted(found.copy(), shift, output.axis)
    before = checked_score(twin, metric, expected, found, run.unit.where)
    return before, checked_score(twin, metric, expected, moved, run.unit.where)


def _model_score(
    metric: Metric, units: Sequence[Unit], floats: Sequence[State], found: Sequence[State]
) -> float:
    """The mean over the samples of the worst score of a float output of the model."""
    scores: list[float] = []
    for unit, expected, outputs in zip(units, floats, found, strict=True):
        names = [n for n, array in expected.items() if array.dtype.kind == "f" and n not in unit.feeds]
        twins = [Twin(name, "output", name, name) for name in names]
        values = [checked_score(t, metric, expected[t.layer], outputs[t.layer], unit.where) for t in twins]
        scores.append(metric.worst(values))
    return float(np.mean(scores)) if scores else metric.worst(())
