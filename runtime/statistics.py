"""What calibration remembers of a tensor: range, count and distribution, mergeable to the bit.

Up to `EXACT_LIMIT` elements the values themselves are kept; with one more they turn into a histogram. Both
the switch and the histogram depend on the multiset of values alone, so `update` and `merge` in any split and
any order, in any number of threads or processes, give identical statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.runtime.density import value_at
from qir.runtime.histogram import Histogram
from qir.runtime.kernels import ranges

EXACT_LIMIT = 1 << 14
"""Elements up to which a tensor's values are kept as they are (64 KiB, as much as a histogram takes)."""

F32 = npt.NDArray[np.float32]


class TensorStatistics:
    """Statistics of every value that a tensor took, as float32.

    Memory: at most 64 KiB plus as much again for a moment while values turn into a histogram, whatever the
    number of updates. Not locked: give each thread its own and `merge` them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._minimum = np.float32(np.inf)
        self._maximum = np.float32(-np.inf)
        self._buffer: F32 = np.empty(0, np.float32)
        self._histogram: Histogram | None = None

    @property
    def minimum(self) -> float:
        """The smallest value; CalibrationError without data."""
        self._require_data()
        return float(self._minimum)

    @property
    def maximum(self) -> float:
        """The largest value; CalibrationError without data."""
        self._require_data()
        return float(self._maximum)

    @property
    def values(self) -> F32 | None:
        """All values in ascending order while there are at most EXACT_LIMIT of them, otherwise None."""
        return None if self._histogram is not None else np.sort(self._buffer[: self.count])

    @property
    def histogram(self) -> Histogram:
        """The distribution in bins, made on demand while the values themselves are kept; read-only."""
        return self._histogram if self._histogram is not None else self._binned()

    def nth_smallest(self, rank: int) -> float:
        """The value of ascending rank (1: the minimum); exact while values are kept, else within one bin."""
        self._require_data()
        values = self.values
        if values is not None:
            return float(values[min(max(rank, 1), self.count) - 1])
        return value_at(self.histogram, self.minimum, self.maximum, rank)

    def nth_largest(self, rank: int) -> float:
        """The value of descending rank (1: the maximum)."""
        return self.nth_smallest(self.count + 1 - rank)

    def update(self, array: npt.NDArray[Any]) -> None:
        """Take in all elements of an array of any shape and numeric type.

        CalibrationError when one is NaN or infinite as float32; the statistics are then as before.
        """
        values = ranges.flat_floats(array)
        if values.size == 0:
            return
        low, high = ranges.finite_range(values)
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        if self._histogram is None and self.count + values.size <= EXACT_LIMIT:
            self._keep(values)
        else:
            self._histogram = self.histogram
            self._histogram.cover(self._magnitude)
            self._histogram.add(values)
            self._buffer = np.empty(0, np.float32)
        self.count += values.size

    @staticmethod
    def merge(a: TensorStatistics, b: TensorStatistics) -> TensorStatistics:
        """The statistics of all values of both, which are left as they are."""
        result = TensorStatistics()
        for part in (a, b):
            result._add(part)
        return result

    def _add(self, other: TensorStatistics) -> None:
        if other._histogram is None:
            if other.count:
                self.update(other._buffer[: other.count])
            return
        binned = self.histogram if self.count else Histogram.empty(0.0)
        self._minimum = min(self._minimum, other._minimum)
        self._maximum = max(self._maximum, other._maximum)
        self._histogram = Histogram(binned.exponent, binned.counts.copy(), binned.zeros)
        self._histogram.cover(self._magnitude)
        self._histogram.add_histogram(other._histogram)
        self._buffer = np.empty(0, np.float32)
        self.count += other.count

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The statistics as a few plain arrays, for storage; the same content gives the same arrays."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "count": np.asarray(self.count, np.int64),
            "range": np.asarray([self._minimum, self._maximum], np.float32),
        }
        if self._histogram is None:
            return {**arrays, "values": np.sort(self._buffer[: self.count])}
        layout = np.asarray([self._histogram.exponent, self._histogram.zeros], np.int64)
        return {**arrays, "layout": layout, "counts": self._histogram.counts}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> TensorStatistics:
        """The statistics that `to_arrays` gave."""
        result = TensorStatistics()
        result.count = int(arrays["count"])
        result._minimum, result._maximum = arrays["range"].astype(np.float32)
        if "values" in arrays:
            result._buffer = arrays["values"].astype(np.float32)
        else:
            exponent, zeros = arrays["layout"].tolist()
            result._histogram = Histogram(exponent, arrays["counts"].astype(np.int64), zeros)
        return result

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorStatistics):
            return NotImplemented
        mine, theirs = self.to_arrays(), other.to_arrays()
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "values" if self._histogram is None else "histogram"
        return f"TensorStatistics(count={self.count}, range=[{self._minimum}, {self._maximum}], {kind})"

    @property
    def _magnitude(self) -> float:
        return max(-float(self._minimum), float(self._maximum), 0.0)

    def _require_data(self) -> None:
        if self.count == 0:
            raise CalibrationError("no calibration data reached this tensor; give at least one sample")

    def _binned(self) -> Histogram:
        histogram = Histogram.empty(self._magnitude if self.count else 0.0)
        histogram.add(self._buffer[: self.count])
        return histogram

    def _keep(self, values: F32) -> None:
        needed = self.count + values.size
        if needed > self._buffer.size:
            grown = np.empty(min(max(needed, 2 * self._buffer.size), EXACT_LIMIT), np.float32)
            grown[: self.count] = self._buffer[: self.count]
            self._buffer = grown
        # Adding zero makes -0.0 and 0.0 one value: which of two equal numbers came first must not show.
        np.add(values, np.float32(0), out=self._buffer[self.count : needed])
