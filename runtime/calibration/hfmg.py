"""AMCT's HFMG: of ranges that lose ever more of a histogram's tails, the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration.options import closed_without_scale
from qir.runtime.calibration.registry import calibrator
from qir.runtime.kernels import flat_floats
from qir.runtime.kernels.ranges import finite_range
from qir.runtime.kernels.searching import add_inner_errors, tail_ranges
from qir.runtime.scales import FLT_EPSILON, params_of_range
from qir.runtime.statistics import TensorStatistics

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_BINS = (1024, 2048, 4096, 8192)
_STEPS = 100_000
"""A step drops at least one of so many elements from one tail."""


@calibrator("hfmg")
@dataclass(frozen=True)
class Hfmg:
    """AMCT's HFMG: the range of whole bins, 1024 to 8192 in all, with the least squared error.

    On statistics, bins are filled from the distribution of all data. AMCT itself fills them batch by batch
    and spreads old counts whenever the range grows, which depends on the order of the batches: with the raw
    values (`exact`) this is done in batches of `batch_size` samples.
    """

    bins: int = 4096
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.bins not in _BINS:
            raise ConfigError(f"hfmg needs bins of {', '.join(map(str, _BINS))}, not {self.bins}")
        if self.batch_size < 1:
            raise ConfigError(f"hfmg needs a batch-size of at least 1, not {self.batch_size}")

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the best range."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        batches = statistics.batches(self.batch_size)
        if batches is not None:
            return hfmg_exact(batches, spec, self)
        low, high = statistics.minimum, statistics.maximum
        if low == high:
            return params_of_range(low, high, spec)
        edges = np.linspace(low, high, self.bins + 1)
        counts = statistics.density.counts(edges)
        if low <= 0 <= high:
            index = min(int(np.searchsorted(edges, 0, side="right")) - 1, self.bins - 1)
            counts[index] += statistics.histogram.zeros
        return _best(Bins(low, high, counts), spec)


@dataclass(frozen=True)
class Bins:
    """Counts in equal bins from `low` to `high`."""

    low: float
    high: float
    counts: F64

    @property
    def width(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / self.counts.size

    @staticmethod
    def of(values: F32, low: float, high: float, bins: int) -> Bins:
        """The bins of values within [low, high], in the float32 arithmetic of torch.histc."""
        start, end = (low - 1, high + 1) if low == high else (low, high)
        span = np.float32(end) - np.float32(start)
        with np.errstate(over="ignore", invalid="ignore"):
            index = (values - np.float32(start)) * np.float32(bins) / span
        if not np.isfinite(index).all():
            raise CalibrationError(
                f"the range of the data, [{low:.3g}, {high:.3g}], is too large for the bins of hfmg; "
                "normalize the data or leave the layer in float"
            )
        found = np.bincount(np.minimum(index.astype(np.int64), bins - 1), minlength=bins)
        return Bins(low, high, found.astype(np.float64))

    def spread(self, low: float, high: float) -> Bins:
        """The same elements in bins of a wider range: a bin over two new ones is split in proportion.

        The part in the lower one is rounded down, as in AMCT.
        """
        if abs(self.low - low) < FLT_EPSILON and abs(self.high - high) < FLT_EPSILON:
            return Bins(low, high, self.counts)
        bins, width = self.counts.size, (high - low) / self.counts.size
        begin = self.low + np.arange(bins) * self.width
        first = np.clip(((begin - low) / width).astype(np.int64), 0, bins - 1)
        last = np.clip(((begin + self.width - low) / width).astype(np.int64), 0, bins - 1)
        whole = self.width if self.width > 0 else 1.0
        part = np.floor(self.counts * (low + (first + 1) * width - begin) / whole)
        part = np.where(first == last, self.counts, part)
        counts = np.zeros(bins)
        np.add.at(counts, first, part)
        np.add.at(counts, last, self.counts - part)
        return Bins(low, high, counts)


def hfmg_exact(
    batches: Iterable[npt.NDArray[Any]], spec: QuantSpec, method: Hfmg | None = None
) -> QuantParams:
    """HFMG on raw batches of any shapes, AMCT's algorithm, which depends on their order.

    CalibrationError when there are no data, or data that are not finite.
    """
    options = method or Hfmg()
    known = closed_without_scale(spec)
    if known is not None:
        return known
    bins: Bins | None = None
    for batch in batches:
        values = flat_floats(batch)
        if not values.size:
            continue
        low, high = finite_range(values)
        if bins is None:
            bins = Bins.of(values, low, high, options.bins)
            continue
        low, high = min(low, bins.low), max(high, bins.high)
        new = Bins.of(values, low, high, options.bins)
        bins = Bins(low, high, bins.spread(low, high).counts + new.counts)
    if bins is None:
        raise CalibrationError("no calibration data; give at least one element")
    return params_of_range(bins.low, bins.high, spec) if bins.low == bins.high else _best(bins, spec)


def _best(bins: Bins, spec: QuantSpec) -> QuantParams:
    """Close `spec` by the first range with the least loss."""
    left, right = _ranges(bins.counts)
    levels = 1 << spec.qtype.bits
    moments = _moments(bins.counts)
    loss = _outer_errors(moments, left, right, levels)
    add_inner_errors(bins.counts, *moments, left, right, levels, loss)
    # Cells too narrow for float32 have no error, as in AMCT.
    loss[bins.width * (right - left + 1) / levels < FLT_EPSILON] = 0
    best = int(np.argmin(loss))
    # AMCT's arithmetic: float32 throughout.
    start = np.float32(bins.low)
    width = (np.float32(bins.high) - start) / np.float32(bins.counts.size)
    low, high = start + np.float32(left[best]) * width, start + np.float32(right[best] + 1) * width
    return params_of_range(low, high, spec)


def _moments(counts: F64) -> tuple[F64, F64, F64]:
    """Sums over the bins below each edge of counts times 1, x and x^2; x counts in bins from the lowest."""
    centres = np.arange(counts.size) + 0.5
    terms = (counts, counts * centres, counts * (centres * centres + 1 / 12))
    zeroth, first, second = (np.concatenate([[0.0], np.cumsum(term)]) for term in terms)
    return zeroth, first, second


def _outer_errors(moments: tuple[F64, F64, F64], left: I64, right: I64, levels: int) -> F64:
    """The squared error, in bins, of what lies beyond each range: it becomes the centre of the last cell."""
    size = (right - left + 1) / levels
    total = np.zeros(left.size)
    ends = ((np.zeros_like(left), left, left + size / 2), (right + 1, -1, left + (levels - 0.5) * size))
    for start, stop, centre in ends:
        zeroth, first, second = (moment[stop] - moment[start] for moment in moments)
        total += second - 2 * centre * first + centre * centre * zeroth
    return total


def _ranges(counts: F64) -> tuple[I64, I64]:
    """First and last bin of each range that is tried.

    A step drops the bins at one end that hold at least one of _STEPS elements: at the end where these are
    more bins, at the upper one when they are as many; until a quarter of the bins is left.
    """
    step = float(max(math.ceil(float(counts.sum()) / _STEPS), 1))
    found = np.zeros((counts.size, 2), np.int64)
    number = np.zeros(1, np.int64)
    tail_ranges(counts, step, found, number)
    pairs = found[: max(int(number[0]), 1)]
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
