"""How far quantization shifts the mean of each layer's output channels, layer after layer.

The float and the quantized model run side by side, step by step (`levels.py`), on a few samples that are all
kept at one step. The shift of a layer is mean(float output - quantized output) per channel, where the
quantized output comes of all layers before, quantized and corrected; adding it to the bias is adding it to
the output, so that nothing runs twice. Cost per sample: a forward of the float model, one of the quantized
model in steps, and one of the quantized model as it was, for the comparison at the end. Source: Nagel et al.,
Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, with data.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.graph import Graph
from qir.runtime.levels import Step, steps_of
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.sensitivity import checked_score
from qir.runtime.session import Session, aligned_copy
from qir.runtime.twins import Twin, without_quants
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

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
    """By layer; `before` and `after` are of the model's outputs, without any and with the kept ones."""

    samples: int
    layers: Mapping[str, Correction]
    before: float
    after: float


@dataclass
class _Run:
    """A sample, with the values of both models that are needed later."""

    unit: Unit
    floats: dict[str, Array]
    rounded: dict[str, Array]


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
    floats, rounded = (without_quants(graph, rounded=flag) for flag in (False, True))
    plain = functools.cache(lambda: Session(rounded, threads=1))
    units = list(itertools.islice(data.units(lambda feeds: plain().run(feeds, plain().outputs)), samples))
    runs = [_Run(unit, _copy(unit), _copy(unit)) for unit in units]
    by_value = {output.value: output for output in outputs}
    found: dict[str, Correction] = {}
    pairs = zip(steps_of(floats, by_value), steps_of(rounded, by_value), strict=True)
    with (SILENT if progress is None else progress).task("correct-bias", len(outputs)) as task:
        for float_step, step in pairs:
            _advance(runs, float_step, step)
            for value in step.results:
                found[by_value[value].layer] = _corrected(runs, by_value[value], metric)
                task.advance()
    after = _model_score(metric, runs, [run.rounded for run in runs])
    before = after
    if any(correction.kept for correction in found.values()):
        names = [value.name for value in graph.outputs]
        quantized = ordered_map(lambda run: plain().run(_copy(run.unit), names), runs, cores(), plain().stop)
        before = _model_score(metric, runs, list(quantized))
    return Corrections(len(runs), {o.layer: found[o.layer] for o in outputs}, before, after)


def _copy(unit: Unit) -> dict[str, Array]:
    return {name: aligned_copy(array) for name, array in unit.feeds.items()}


def _advance(runs: Sequence[_Run], float_step: Step, step: Step) -> None:
    """Run a step of both models on all samples."""
    links = float_step.link(), step.link()

    def run(item: _Run) -> None:
        links[0].run(item.floats)
        links[1].run(item.rounded)

    def stop() -> None:
        for link in links:
            if link.session is not None:
                link.session.stop()

    for _ in ordered_map(run, runs, cores(), stop):
        pass


def _corrected(runs: Sequence[_Run], output: Output, metric: Metric) -> Correction:
    """The correction of a layer; when it is kept, the quantized outputs in `runs` have it afterwards."""
    channels = runs[0].floats[output.value].shape[output.axis] if runs else 0
    total, count = np.zeros(channels), 0
    for run in runs:
        expected, found = run.floats[output.value], run.rounded[output.value]
        if expected.shape == found.shape and expected.size:
            axes = tuple(i for i in range(found.ndim) if i != output.axis % found.ndim)
            total += np.subtract(expected, found, dtype=np.float64).sum(axis=axes)
            count += expected.size // channels
    shift = total / max(count, 1)
    twin = Twin(output.layer, output.op, output.value, output.value)

    def judge(run: _Run) -> tuple[float, float, Array]:
        expected, found = run.floats[output.value], run.rounded[output.value]
        along = shift.astype(found.dtype).reshape(-1, *[1] * (found.ndim - output.axis % found.ndim - 1))
        moved = aligned_copy(found + along)
        before = checked_score(twin, metric, expected, found, run.unit.where)
        return before, checked_score(twin, metric, expected, moved, run.unit.where), moved

    judged = list(ordered_map(judge, runs, cores(), lambda: None))
    before, after = (float(np.mean([item[i] for item in judged])) if judged else 0.0 for i in (0, 1))
    kept = is_better(metric, after, before)
    if kept:
        for run, item in zip(runs, judged, strict=True):
            run.rounded[output.value] = item[2]
    return Correction(shift, before, after, kept)


def is_better(metric: Metric, score: float, other: float) -> bool:
    """Whether a score of the metric is better than another."""
    return score > other if metric.low_is_worse else score < other


def _model_score(metric: Metric, runs: Sequence[_Run], found: Sequence[Mapping[str, Array]]) -> float:
    """The mean over the samples of the worst score of a float output of the model."""
    scores: list[float] = []
    for run, outputs in zip(runs, found, strict=True):
        names = [n for n in outputs if n in run.floats and run.floats[n].dtype.kind == "f"]
        names = [name for name in names if name not in run.unit.feeds]
        twins = [Twin(name, "output", name, name) for name in names]
        values = [
            checked_score(t, metric, run.floats[t.layer], outputs[t.layer], run.unit.where) for t in twins
        ]
        scores.append(metric.worst(values))
    return float(np.mean(scores)) if scores else metric.worst(())
