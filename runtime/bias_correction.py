"""How far quantization shifts the mean of each layer's output channels, layer after layer.

Samples, all kept at one step, run through the quantized model step by step (`levels.py`), and ahead of it
through the float model in larger steps (`both_models.py`). The shift of a layer is mean(float output -
quantized output) per channel, where the quantized output comes of all layers before, quantized and corrected;
adding it to the bias is adding it to the output, so that nothing runs twice. One pass over both outputs
(`mean_errors.py`) gives the shift, and the metric before and after it. Cost per sample: a forward of the
float model and one of the quantized model, in steps; the first `JUDGED` samples run through the quantized
model without corrections, too.
Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, with data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.runtime.both_models import BothModels, Sample, on_all
from qir.runtime.isolated import first_units
from qir.runtime.mean_errors import (
    ChannelSums,
    channel_sums,
    follows_from_sums,
    mean_error,
    scores_by_sums,
    shifted,
)
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT, Progress
from qir.runtime.sensitivity import checked_score
from qir.runtime.twins import Twin
from qir.runtime.units import CalibrationData, float_outputs
from qir.runtime.workers import cores

JUDGED = 4
"""Samples on which the model's outputs are compared at the end, for which the model as it was must run."""
CORRECTED, PLAIN = 0, -1
"""Which stream of a sample is corrected; the last one is not, where there is another."""
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
    units = first_units(graph, data, samples)
    runs = [Sample(unit, 2 if i < JUDGED else 1) for i, unit in enumerate(units)]
    by_value = {output.value: output for output in outputs}
    found: dict[str, Correction] = {}
    with (
        collector_paused(),  # it would go through the graphs of all steps whenever one is opened
        (SILENT if progress is None else progress).task("correct-bias", len(outputs)) as task,
        ThreadPoolExecutor(cores(), thread_name_prefix="qir") as pool,
    ):
        models = BothModels(graph, list(by_value))
        for step in models.steps:
            models.run(step, runs, pool)
            results = [by_value[name] for name in step.results]
            found |= _corrected(results, runs, metric, pool)
            task.advance(len(results))
        models.finish(runs, pool)
    before, after = _model_scores(metric, runs, models.outputs)
    return Corrections(len(runs), {o.layer: found[o.layer] for o in outputs}, before, after)


def _corrected(
    results: Sequence[Output], runs: Sequence[Sample], metric: Metric, pool: Executor
) -> dict[str, Correction]:
    """The corrections of the layers of a step; kept ones are made before the runs go on."""
    sums = on_all(partial(_sums, results), runs, pool)
    found = {
        output.layer: _correction(runs, output, [row[i] for row in sums], metric)
        for i, output in enumerate(results)
    }
    kept = [(output, found[output.layer].shift) for output in results if found[output.layer].kept]
    on_all(partial(_shift, kept), runs, pool)
    return found


def _sums(results: Sequence[Output], run: Sample) -> list[ChannelSums | None]:
    expected, found = run.floats.results, run.quantized[CORRECTED].results
    return [channel_sums(expected[o.value], found[o.value], o.axis) for o in results]


def _shift(kept: Sequence[tuple[Output, F64]], run: Sample) -> None:
    """Correct what later steps read of a step's quantized outputs; the outputs themselves were compared."""
    state = run.quantized[CORRECTED].state
    for output, shift in kept:
        if output.value in state:
            state[output.value] = shifted(state[output.value], shift, output.axis)
    run.drop_results()


def _correction(
    runs: Sequence[Sample], output: Output, sums: Sequence[ChannelSums | None], metric: Metric
) -> Correction:
    """The correction of a layer; the quantized outputs are still as they were."""
    channels = runs[0].floats.results[output.value].shape[output.axis] if runs else 0
    shift = mean_error(sums, channels)
    before, after = (_mean_score(runs, output, sums, each, metric) for each in (np.zeros_like(shift), shift))
    return Correction(shift, before, after, metric.is_better(after, before))


def _mean_score(
    runs: Sequence[Sample],
    output: Output,
    sums: Sequence[ChannelSums | None],
    shift: F64,
    metric: Metric,
) -> float:
    """The mean over the samples of the metric of an output that is shifted."""
    if follows_from_sums(metric):
        known = [item for item in sums if item is not None]
        mean = float(np.mean(scores_by_sums(known, metric, shift))) if known else math.nan
        if len(known) == len(runs) and not math.isnan(mean):
            return mean
    scores = [_score(run, output, shift, metric) for run in runs]
    return float(np.mean(scores)) if scores else 0.0


def _score(run: Sample, output: Output, shift: F64, metric: Metric) -> float:
    """The metric of a shifted output of one sample; CalibrationError when it says nothing."""
    expected, found = run.floats.results[output.value], run.quantized[CORRECTED].results[output.value]
    twin = Twin(output.layer, output.op, output.value, output.value)
    return checked_score(twin, metric, expected, shifted(found.copy(), shift, output.axis), run.unit.where)


def _model_scores(metric: Metric, runs: Sequence[Sample], names: Sequence[str]) -> tuple[float, float]:
    """Without corrections and with them: the mean over samples of the worst score of a float output."""
    judged = runs[:JUDGED]
    scores = [[_worst(metric, run, names, variant) for variant in (PLAIN, CORRECTED)] for run in judged]
    before, after = np.mean(scores, axis=0).tolist() if scores else [metric.worst(())] * 2
    return before, after


def _worst(metric: Metric, run: Sample, names: Sequence[str], variant: int) -> float:
    expected, found = run.floats.state, run.quantized[variant].state
    floats = float_outputs({name: expected[name] for name in names})
    got = float_outputs({name: found[name] for name in floats})
    twins = [Twin(name, "output", name, name) for name in floats]
    return metric.worst(
        [checked_score(t, metric, floats[t.layer], got[t.layer], run.unit.where) for t in twins]
    )
