"""How much each layer suffers from quantization: all layers from one run over a few samples.

Each quantized layer and its twin (see `twins.py`) are compared on the spot, sample by sample; nothing is kept
of a sample but one number per layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qir.ir.errors import CalibrationError
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.runtime.metrics import Metric, score_of
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segmented import SegmentedSession
from qir.runtime.twins import Twin, with_twins
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

HELD_BYTES = 32 << 20
"""Estimated bytes of results that a unit under way may hold. Every cut costs sessions and changes of layout:
on small models, calibration's finer segments take a third more time."""


@dataclass(frozen=True)
class Sensitivity:
    """Scores of the quantized layers by name, in running order: the mean of `metric` over the samples."""

    metric: Metric
    samples: int
    scores: Mapping[str, float]

    def ranking(self) -> tuple[tuple[str, float], ...]:
        """(layer, score), the most sensitive layer first; equal scores in running order."""
        sign = 1 if self.metric.low_is_worse else -1
        return tuple(sorted(self.scores.items(), key=lambda item: sign * item[1]))


def measure_sensitivity(
    graph: Graph,
    data: CalibrationData,
    metric: Metric,
    *,
    samples: int | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Compare each quantized layer of a closed graph with its twin on the first `samples` units (None: all).

    CalibrationError when a layer gives NaN (its input does), naming layer and sample, and for data that do
    not fit; PassError for open quants.
    """
    with collector_paused():
        doubled, twins = with_twins(graph)
        if not twins:
            return Sensitivity(metric, 0, {})
        names = dict.fromkeys(name for t in twins for name in (t.float_value, t.twin_value))
        taps = [doubled.value(name) for name in names]
        session = SegmentedSession(doubled, taps, HELD_BYTES, owned=True)

    def run(unit: Unit) -> list[float]:
        return _scores(session, unit, twins, metric)

    units = itertools.islice(data.units(session.run), samples)
    bounds = [bound for bound in (samples, data.total) if bound is not None]
    totals, count = np.zeros(len(twins)), 0
    with (SILENT if progress is None else progress).task("sensitivity", min(bounds, default=None)) as task:
        for scores in ordered_map(run, units, cores(), session.stop):
            totals += scores
            count += 1
            task.advance()
    means = (totals / max(count, 1)).tolist()
    return Sensitivity(metric, count, {t.layer: m for t, m in zip(twins, means, strict=True)})


def _scores(session: SegmentedSession, unit: Unit, twins: Sequence[Twin], metric: Metric) -> list[float]:
    """The score of each layer for one unit. Results are held from their segment to that of their twin."""
    waiting = {name: twin for twin in twins for name in (twin.float_value, twin.twin_value)}
    held: dict[str, Array] = {}
    scores: dict[str, float] = {}
    for tensors in session.stages(unit.feeds, {}):
        held.update(tensors)
        tensors.clear()
        for name in tuple(held):
            twin = waiting[name]
            if name == twin.float_value and twin.twin_value in held:
                expected, found = held.pop(twin.float_value), held.pop(twin.twin_value)
                scores[twin.layer] = checked_score(twin, metric, expected, found, unit.where)
    return [scores[twin.layer] for twin in twins]


def checked_score(twin: Twin, metric: Metric, expected: Array, found: Array, where: str) -> float:
    """The metric of two arrays; CalibrationError, naming layer and sample, when it is NaN.

    An output of another shape (as detections may have) counts as lost: it is compared as zeros.
    """
    score = score_of(metric, expected, found if found.shape == expected.shape else np.zeros_like(expected))
    if math.isnan(score):
        raise CalibrationError(
            f"{where}: layer '{twin.layer}' ({twin.op}) gives values that are not finite, so that "
            f"{metric.name} says nothing; repair the sample or leave the layer in float"
        )
    return score
