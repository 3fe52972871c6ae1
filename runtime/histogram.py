"""Histograms aligned at zero with power-of-two bin widths, which grow by merging pairs of bins.

The width depends on the largest range seen and on nothing else, and merging bins is exact; therefore a
histogram is a function of the data alone: batches, order, threads and shards cannot change it.
`kernels/binning.py` defines a bin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels import binning
from qir.runtime.kernels.binning import BINS, BINS_LOG2, SLOTS
from qir.runtime.kernels.ranges import ALL_FINITE, NOTHING, Covered, finite_range_counted

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

MIN_EXPONENT = -100
"""Finest width, 2^-100: keeps 1/width in float32. Data that small have scale 1 by AMCT's rule anyway."""

_COUNTER_LIMIT = (1 << 32) - 1
_CHUNK = 1 << 30


def exponent_for(minimum: float, maximum: float) -> int:
    """Exponent of the finest bin width at which [minimum, maximum] and zero span less than BINS bins."""
    low, high = min(minimum, 0.0), max(maximum, 0.0)
    if low == high:
        return MIN_EXPONENT
    exponent = max(int(np.frexp(max(-low, high))[1]) - BINS_LOG2, MIN_EXPONENT)
    width = 2.0**exponent
    return exponent if int(high / width) - int(low / width) < BINS else exponent + 1


class Histogram:
    """Counts of finite float32 numbers in bins of width 2^exponent.

    Memory: 128 KiB, and 256 KiB more from 2^32 elements on.
    """

    def __init__(self, minimum: float, maximum: float) -> None:
        """An empty histogram for data in [minimum, maximum]."""
        self.count = 0
        self.minimum, self.maximum = minimum, maximum
        self.exponent = exponent_for(minimum, maximum)
        self._covered = Covered.of(minimum, maximum)
        self._counters = np.zeros(SLOTS, np.uint32)
        self._in_counters = 0
        self._carried: I64 | None = None

    @property
    def width(self) -> float:
        """Width of a bin (bin 0 is twice as wide)."""
        return float(2.0**self.exponent)

    @property
    def first(self) -> int:
        """The lowest bin, that of the minimum; never above 0."""
        return min(int(self.minimum / self.width), 0)

    @property
    def last(self) -> int:
        """The highest bin, that of the maximum; never below 0."""
        return max(int(self.maximum / self.width), 0)

    @property
    def counts(self) -> I64:
        """Counts of bins first..last; those that are exactly zero are left out."""
        return self._total()[np.arange(self.first, self.last + 1) % BINS]

    @property
    def zeros(self) -> int:
        """How many elements are exactly zero."""
        return int(self._total()[BINS:].sum())

    def cover(self, minimum: float, maximum: float) -> None:
        """Make room for data in [minimum, maximum]; bins never become finer."""
        low, high = min(self.minimum, minimum), max(self.maximum, maximum)
        exponent = exponent_for(low, high)
        if exponent > self.exponent:
            if self.count:
                self._store(self._total(exponent))
            self.exponent = exponent
        self.minimum, self.maximum = low, high
        self._covered = Covered.of(low, high)

    def add(self, values: F32) -> None:
        """Count contiguous finite values, which must lie in the covered range."""
        for start in range(0, values.size, _CHUNK):
            part = values[start : start + _CHUNK]
            self._make_room(part.size)
            finite_range_counted(part, ALL_FINITE, 2.0**-self.exponent, self._counters)
            self._counted(part.size)

    def take(self, values: F32) -> tuple[float, float]:
        """Cover and count contiguous values; returns their minimum and maximum.

        CalibrationError when some are NaN or infinite; the histogram is then as before.
        """
        covered = NOTHING
        if values.size <= _CHUNK:
            self._make_room(values.size)
            covered = self._covered
        low, high, counted = finite_range_counted(values, covered, 2.0**-self.exponent, self._counters)
        if counted:  # between zero and an end all is covered, and may still be nearer to zero than before
            self._counted(values.size)
            self.minimum, self.maximum = min(low, self.minimum), max(high, self.maximum)
        else:
            self.cover(low, high)
            self.add(values)
        return low, high

    def _make_room(self, count: int) -> None:
        """Let the counters hold so many more elements."""
        if self._in_counters + count > _COUNTER_LIMIT:
            self._carried, self._in_counters = self._total(), 0
            self._counters[:] = 0

    def _counted(self, count: int) -> None:
        self._in_counters += count
        self.count += count

    def add_histogram(self, other: Histogram) -> None:
        """Count all elements of `other`, which is left as it is."""
        self.cover(other.minimum, other.maximum)
        self.count += other.count
        self._store(self._total() + other._total(self.exponent))

    @staticmethod
    def of_counts(minimum: float, maximum: float, counts: I64, zeros: int) -> Histogram:
        """The histogram with these properties."""
        result = Histogram(minimum, maximum)
        total = np.zeros(SLOTS, np.int64)
        total[np.arange(result.first, result.last + 1) % BINS] = counts
        total[BINS] = zeros
        result.count = int(total.sum())
        result._store(total)
        return result

    def _total(self, exponent: int | None = None) -> I64:
        """Counts and zeros in the layout of the kernels, at the present bin width or a wider one."""
        total = self._counters.astype(np.int64)
        if self._carried is not None:
            total += self._carried
        if exponent is None or exponent == self.exponent:
            return total
        merged = np.zeros(SLOTS, np.int64)
        doublings = min(exponent - self.exponent, BINS_LOG2 + 1)
        binning.merge_bins(total, self.first, self.last, doublings, merged)
        return merged

    def _store(self, total: I64) -> None:
        """Take over counts of all elements."""
        if self.count <= _COUNTER_LIMIT:
            self._counters, self._in_counters, self._carried = total.astype(np.uint32), self.count, None
        else:
            self._carried, self._in_counters = total, 0
            self._counters[:] = 0
