"""How near the values of two graphs are to each other, over a stream of data: outputs, layers, integers."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from qir.runtime.progress import SILENT, Progress, Task
from qir.runtime.session import Feeds, aligned_copy
from qir.runtime.units import Array, CalibrationData, Run, Unit, numbers_of
from qir.runtime.workers import cores, ordered_map

logger = logging.getLogger(__name__)

PairSums: TypeAlias = npt.NDArray[np.float64]
_Measured: TypeAlias = "tuple[int, PairSums] | None"
# reference², candidate², reference * candidate, difference², |difference|, number of differences,
# max |difference|
_ADDED = 6
_RECORDED_BYTES = 32 << 20


class Runner(Protocol):
    """What can be compared: a session of any kind."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Values by name for one set of inputs."""

    def stop(self) -> None:
        """Make the runs under way fail soon."""


class Pair(NamedTuple):
    """Two values to compare, by their names in either graph.

    `shift` is taken from the candidate first, and its channels along `axis` are multiplied by `factors`.
    """

    reference: str
    candidate: str
    shift: int = 0
    factors: tuple[float, ...] = ()
    axis: int = 1


@dataclass(frozen=True)
class OutputComparison:
    """Agreement of one value over `count` elements, of which `different` differ.

    `cosine` is the cosine similarity of all elements as one vector; `sqnr` the ratio of signal to error
    power in dB, 10 log10(Σ reference² / Σ (reference - candidate)²), infinite for equal outputs. In the unit
    of the value: `l1` is the mean of |reference - candidate|, `l2` the root of the mean of its square and
    `max_abs` the greatest difference (Chebyshev distance). All are nan where an output is not finite, or has
    another shape (as detections may have), which `other_shape` says.
    """

    name: str
    cosine: float
    sqnr: float
    l1: float
    l2: float
    max_abs: float
    count: int
    different: int = 0
    other_shape: bool = False


def compare_outputs(
    reference: Runner,
    candidate: Runner,
    data: CalibrationData,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[OutputComparison, ...]:
    """Compare the numeric outputs of two sessions on the first `limit` units of `data` (None: all).

    Outputs are paired in their order; the rest is as in `compare_values`.
    """
    pairs = tuple(Pair(a, b) for a, b in zip(reference.outputs, candidate.outputs, strict=True))
    units = itertools.islice(data.units(lambda feeds: reference.run(feeds, reference.outputs)), limit)
    bounds = [bound for bound in (limit, data.total) if bound is not None]
    found = compare_values(
        reference,
        candidate,
        pairs,
        units,
        total=min(bounds, default=None),
        progress=progress,
        workers=workers,
    )
    return tuple(item for item in found if item is not None)


def compare_values(
    reference: Runner,
    candidate: Runner,
    pairs: Sequence[Pair],
    units: Iterable[Unit],
    *,
    total: int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[OutputComparison | None, ...]:
    """Compare pairs of values on all units; None for a pair that holds no numbers.

    Sums are float64, added up in the order of the data, so that the result does not depend on `workers`
    (threads; by default one per core). Give sessions with one thread each for results that are the same on
    every number of cores.
    """
    names = [
        list(dict.fromkeys(side)) for side in ([p.reference for p in pairs], [p.candidate for p in pairs])
    ]

    def measure(unit: Unit) -> list[_Measured]:
        feeds = {name: aligned_copy(array) for name, array in unit.feeds.items()}
        return _measure(pairs, unit, reference.run(feeds, names[0]), candidate.run(feeds, names[1]))

    def stop() -> None:
        reference.stop()
        candidate.stop()

    display = SILENT if progress is None else progress
    with display.task("compare", total) as task:
        found = ordered_map(measure, units, cores() if workers is None else workers, stop)
        return _summed_up(pairs, found, task)


@dataclass(frozen=True)
class Recording:
    """Some units, and the outputs that a session gave for them."""

    names: tuple[str, ...]
    units: tuple[Unit, ...]
    outputs: tuple[dict[str, Array], ...]


def first_units(data: CalibrationData, limit: int, run: Run) -> tuple[Unit, ...]:
    """The first `limit` units, or fewer when they take more than 32 MB; one at least."""
    found: list[Unit] = []
    size = 0
    for unit in itertools.islice(data.units(run), limit):
        found.append(unit)
        size += sum(array.nbytes for array in unit.feeds.values())
        if size > _RECORDED_BYTES:
            break
    return tuple(found)


def record_outputs(reference: Runner, units: Sequence[Unit]) -> Recording:
    """What `reference` returns for some units, so that it can be closed before the next opens.

    Fewer units when their outputs take more than 32 MB; one at least. `reference` is of no use afterwards.
    """

    def run(unit: Unit) -> dict[str, Array]:
        feeds = {name: aligned_copy(array) for name, array in unit.feeds.items()}
        return reference.run(feeds, reference.outputs)

    outputs: list[dict[str, Array]] = []
    size = 0
    with contextlib.closing(ordered_map(run, units, cores(), reference.stop)) as runs:
        for found in runs:
            outputs.append(found)
            size += sum(numbers.nbytes for numbers in map(numbers_of, found.values()) if numbers is not None)
            if size > _RECORDED_BYTES:
                break
    return Recording(reference.outputs, tuple(units[: len(outputs)]), tuple(outputs))


def compare_recorded(
    recording: Recording, candidate: Runner, progress: Progress | None = None
) -> tuple[OutputComparison, ...]:
    """Compare recorded outputs with those of `candidate`, paired in their order; as `compare_outputs`."""
    pairs = tuple(Pair(a, b) for a, b in zip(recording.names, candidate.outputs, strict=True))

    def measure(item: tuple[Unit, dict[str, Array]]) -> list[_Measured]:
        feeds = {name: aligned_copy(array) for name, array in item[0].feeds.items()}
        return _measure(pairs, item[0], item[1], candidate.run(feeds, candidate.outputs))

    items = list(zip(recording.units, recording.outputs, strict=True))
    with (SILENT if progress is None else progress).task("compare", len(items)) as task:
        found = _summed_up(pairs, ordered_map(measure, items, cores(), candidate.stop), task)
    return tuple(item for item in found if item is not None)


def _measure(
    pairs: Sequence[Pair], unit: Unit, expected: Mapping[str, Array], got: Mapping[str, Array]
) -> list[_Measured]:
    return [pair_sums(expected[p.reference], got[p.candidate], p, unit.where) for p in pairs]


def _summed_up(
    pairs: Sequence[Pair], found: Iterable[list[_Measured]], task: Task
) -> tuple[OutputComparison | None, ...]:
    """The comparison of each pair over all units."""
    totals = [PairTotal(pair.reference) for pair in pairs]
    for items in found:
        for each, item in zip(totals, items, strict=True):
            each.add(item)
        task.advance()
    return tuple(each.comparison() for each in totals)


class PairTotal:
    """What was measured of one pair so far."""

    def __init__(self, name: str) -> None:
        self._name, self._count, self._sums = name, 0, np.zeros(_ADDED + 1)

    def add(self, item: tuple[int, PairSums] | None) -> None:
        """The numbers of one more unit."""
        if item is not None:
            self._count += item[0]
            largest = np.maximum(self._sums[_ADDED], item[1][_ADDED])
            self._sums += item[1]
            self._sums[_ADDED] = largest

    def comparison(self) -> OutputComparison | None:
        """The result; None when there were no numbers."""
        return _comparison(self._name, self._count, self._sums) if self._count else None


def pair_sums(expected: Array, got: Array, pair: Pair, where: str) -> tuple[int, PairSums] | None:
    """Number of elements and their sums; None for outputs that are not numbers."""
    numbers, others = numbers_of(expected), numbers_of(got)
    if numbers is None or others is None:
        return None
    expected, got = numbers, others
    if expected.shape != got.shape:
        logger.info("%s: output '%s' has shape %s and %s", where, pair.reference, expected.shape, got.shape)
        return expected.size, np.full(_ADDED + 1, np.nan)
    a, b = np.ravel(expected).astype(np.float64), np.ravel(got).astype(np.float64)
    if pair.shift:
        b -= pair.shift
    if pair.factors:
        along = np.array(pair.factors).reshape(-1, *[1] * (got.ndim - pair.axis % got.ndim - 1))
        b = np.ravel(b.reshape(got.shape) * along)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = a - b
        magnitudes = np.abs(difference)
        largest = float(np.max(magnitudes)) if a.size else 0.0
        different = float(np.count_nonzero(difference))
        squares = [np.sum(a * a), np.sum(b * b), np.sum(a * b), np.sum(difference * difference)]
        distance = np.sum(magnitudes)
    return a.size, np.array([*squares, distance, different, largest])


def _comparison(name: str, count: int, totals: PairSums) -> OutputComparison:
    signal, other, product, error, distance, different, largest = totals.tolist()
    if error == 0:
        return OutputComparison(name, 1.0, math.inf, 0.0, 0.0, 0.0, count)
    if not math.isfinite(error):
        nan, reshaped = math.nan, math.isnan(different)  # of values that are not finite some are counted
        return OutputComparison(name, nan, nan, nan, nan, nan, count, count, reshaped)
    norm = math.sqrt(signal) * math.sqrt(other)
    cosine = product / norm if norm else 0.0
    sqnr = 10 * math.log10(signal / error) if signal else -math.inf
    l1, l2 = distance / count, math.sqrt(error / count)
    return OutputComparison(name, cosine, sqnr, l1, l2, largest, count, int(different))
