"""How near the outputs of a quantized graph are to those of the float graph, over a stream of data."""

from __future__ import annotations

import itertools
import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.runtime.progress import SILENT, Progress
from qir.runtime.session import Session, aligned_copy
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

logger = logging.getLogger(__name__)

_Sums = npt.NDArray[
    np.float64
]  # reference², candidate², reference * candidate, difference², max |difference|


@dataclass(frozen=True)
class OutputComparison:
    """Agreement of one output over `count` elements.

    `cosine` is the cosine similarity of all elements as one vector; `sqnr` the ratio of signal to error
    power in dB, 10 log10(Σ reference² / Σ (reference - candidate)²), infinite for equal outputs; `max_abs`
    the greatest difference. All are nan where an output is not finite, or has another shape (as detections
    may have).
    """

    name: str
    cosine: float
    sqnr: float
    max_abs: float
    count: int


def compare_outputs(
    reference: Session,
    candidate: Session,
    data: CalibrationData,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[OutputComparison, ...]:
    """Compare the numeric outputs of two sessions on the first `limit` units of `data` (None: all).

    Outputs are paired in their order. Sums are float64, added up in the order of the data, so that the
    result does not depend on `workers` (threads; by default one per core). Give sessions with one thread
    each for results that are the same on every number of cores.
    """
    pairs = tuple(zip(reference.outputs, candidate.outputs, strict=True))

    def measure(unit: Unit) -> list[tuple[int, _Sums] | None]:
        feeds = {name: aligned_copy(array) for name, array in unit.feeds.items()}
        expected, got = reference.run(feeds, reference.outputs), candidate.run(feeds, candidate.outputs)
        return [_sums(expected[a], got[b], a, unit.where) for a, b in pairs]

    def stop() -> None:
        reference.stop()
        candidate.stop()

    counts = [0] * len(pairs)
    totals = np.zeros((len(pairs), 5))
    units = data.units(lambda feeds: reference.run(feeds, reference.outputs))
    bounds = [bound for bound in (limit, data.total) if bound is not None]
    display = SILENT if progress is None else progress
    with display.task("compare", min(bounds, default=None)) as task:
        chosen = itertools.islice(units, limit)
        for found in ordered_map(measure, chosen, cores() if workers is None else workers, stop):
            for i, item in enumerate(found):
                if item is not None:
                    counts[i] += item[0]
                    totals[i, :4] += item[1][:4]
                    totals[i, 4] = np.maximum(totals[i, 4], item[1][4])
            task.advance()
    return tuple(_comparison(a, counts[i], totals[i]) for i, (a, _) in enumerate(pairs) if counts[i])


def _sums(expected: Array, got: Array, name: str, where: str) -> tuple[int, _Sums] | None:
    """Number of elements and their sums; None for outputs that are not numbers."""
    if not isinstance(expected, np.ndarray) or expected.dtype.kind not in "fiub":
        return None
    if expected.shape != got.shape:
        logger.info("%s: output '%s' has shape %s and %s", where, name, expected.shape, got.shape)
        return expected.size, np.full(5, np.nan)
    a, b = np.ravel(expected).astype(np.float64), np.ravel(got).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = a - b
        largest = float(np.max(np.abs(difference))) if a.size else 0.0
        sums = [np.sum(a * a), np.sum(b * b), np.sum(a * b), np.sum(difference * difference), largest]
    return a.size, np.array(sums)


def _comparison(name: str, count: int, totals: _Sums) -> OutputComparison:
    signal, other, product, error, largest = totals.tolist()
    if error == 0:
        return OutputComparison(name, 1.0, math.inf, 0.0, count)
    if not math.isfinite(error):
        return OutputComparison(name, math.nan, math.nan, math.nan, count)
    norm = math.sqrt(signal) * math.sqrt(other)
    cosine = product / norm if norm else 0.0
    sqnr = 10 * math.log10(signal / error) if signal else -math.inf
    return OutputComparison(name, cosine, sqnr, largest, count)
