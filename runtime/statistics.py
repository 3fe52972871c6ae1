"""What calibration remembers of a tensor: range, count and distribution, mergeable to the bit.

Up to `EXACT_LIMIT` elements the values themselves are kept; with one more they turn into a histogram. Both
the switch and the histogram depend on the multiset of values alone, so `update` and `merge` in any split and
any order, in any number of threads or processes, give identical statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.runtime.density import Density, density_of, value_at
from qir.runtime.histogram import Histogram
from qir.runtime.kernels import finite_range, flat_floats
from qir.runtime.raw_values import RawValues
from qir.runtime.sample_ranges import SampleRanges
from qir.runtime.thin_sample import ThinSample

EXACT_LIMIT = 1 << 15
"""Elements up to which a tensor's values are kept as they are (128 KiB, as much as a histogram takes)."""

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
NO_VALUES: F32 = np.empty(0, np.float32)


class TensorStatistics:
    """Statistics of every value that a tensor took, as float32.

    Memory: at most 128 KiB, and twice that while values turn into a histogram, however many updates there
    are; with samples, 64 KiB more for a thin sample of the elements, and 16 bytes for the range of each.
    Not locked: give each thread its own and `merge` them.
    """

    def __init__(self, raw: bool = False) -> None:
        """Empty statistics. `raw` keeps all values besides: for exact modes, with memory that grows."""
        self.count = 0
        self._minimum, self._maximum = math.inf, -math.inf
        self._buffer = NO_VALUES
        self._histogram: Histogram | None = None
        self._samples, self._thin = SampleRanges(), ThinSample()
        self._raw = RawValues() if raw else None

    @property
    def minimum(self) -> float:
        """The smallest value; CalibrationError without data."""
        self._require_data()
        return self._minimum

    @property
    def maximum(self) -> float:
        """The largest value; CalibrationError without data."""
        self._require_data()
        return self._maximum

    @property
    def values(self) -> F32 | None:
        """All values in ascending order while there are at most EXACT_LIMIT, or kept anyway, else None."""
        if self._raw is not None:
            return self._raw.ascending()
        return None if self._histogram is not None else np.sort(self._kept)

    @property
    def histogram(self) -> Histogram:
        """The distribution in bins, made on demand while the values themselves are kept; read-only.

        CalibrationError without data.
        """
        self._require_data()
        return self._histogram if self._histogram is not None else self._binned()

    @property
    def sample_ranges(self) -> tuple[I64, F32, F32]:
        """(indices int64 [n], minima float32 [n], maxima float32 [n]) of the samples, ascending by index.

        Empty when updates did not say which sample they are.
        """
        return self._samples.arrays()

    @property
    def is_raw(self) -> bool:
        """Whether all values are kept."""
        return self._raw is not None

    def batches(self, size: int) -> list[F32] | None:
        """All values in batches of `size` samples, in the order of the samples; None unless they are kept."""
        return None if self._raw is None else self._raw.batches(size)

    @property
    def density(self) -> Density:
        """The distribution; values that come again and again are points. CalibrationError if empty."""
        return density_of(self.histogram, self._thin.values)

    def nth_smallest(self, rank: int) -> float:
        """The value of ascending rank (1: the minimum); exact while values are kept, else within one bin."""
        self._require_data()
        if self._raw is not None:
            return float(self._raw.ascending()[min(max(rank, 1), self.count) - 1])
        if self._histogram is not None:
            return value_at(self._histogram, rank)
        index = min(max(rank, 1), self.count) - 1
        return float(np.partition(self._kept, index)[index])

    def nth_largest(self, rank: int) -> float:
        """The value of descending rank (1: the maximum)."""
        return self.nth_smallest(self.count + 1 - rank)

    def update(self, array: npt.NDArray[Any], sample: int | None = None) -> None:
        """Take in all elements of an array of any shape and numeric type.

        With `sample` these are all elements of that sample, of which the range and a few are remembered.

        CalibrationError when one is NaN or infinite as float32; the statistics are then as before.
        """
        values = flat_floats(array)
        if values.size == 0:
            return
        low, high = finite_range(values) if self._histogram is None else self._histogram.take(values)
        if sample is not None:
            self._samples.add(sample, low, high)
            self._thin.add(sample, values)
        if self._raw is not None:
            self._raw.add(sample, values)
        self._minimum, self._maximum = min(low, self._minimum), max(high, self._maximum)
        if self._histogram is None:
            self._keep_or_bin(values)
        self.count += values.size

    @staticmethod
    def merge(a: TensorStatistics, b: TensorStatistics) -> TensorStatistics:
        """The statistics of all values of both, which are left as they are.

        Raw values are kept when both have kept them.
        """
        result = TensorStatistics()
        binned = [part._histogram for part in (a, b) if part._histogram is not None]
        if binned:
            total = Histogram(binned[0].minimum, binned[0].maximum)
            for histogram in binned:
                total.add_histogram(histogram)
            result._become(total)
            result._minimum, result._maximum, result.count = total.minimum, total.maximum, total.count
        for part in (a, b):
            if part._histogram is None:
                result.update(part._kept)
            result._samples.add_all(part._samples)
            result._thin.add_all(part._thin)
        if a._raw is not None and b._raw is not None:
            result._raw = RawValues()
            result._raw.add_all(a._raw)
            result._raw.add_all(b._raw)
        return result

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The statistics as a few plain arrays, without raw values; equal statistics give equal arrays."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        if len(self._samples):
            index, minima, maxima = self.sample_ranges
            arrays = {"sample_index": index, "sample_ranges": np.stack([minima, maxima])}
            arrays |= dict(zip(("thin_values", "thin_places"), self._thin.arrays(), strict=True))
            arrays["thin_level"] = np.asarray(self._thin.level, np.int64)
        if self._histogram is None:
            return arrays | {"values": np.sort(self._kept)}
        span = np.asarray([self._minimum, self._maximum], np.float32)
        zeros = np.asarray(self._histogram.zeros, np.int64)
        return arrays | {"range": span, "zeros": zeros, "counts": self._histogram.counts}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> TensorStatistics:
        """The statistics that `to_arrays` gave."""
        result = TensorStatistics()
        if "sample_index" in arrays:
            result._samples = SampleRanges.of_arrays(arrays["sample_index"], *arrays["sample_ranges"])
            thin = arrays["thin_values"], arrays["thin_places"]
            result._thin = ThinSample.of_arrays(int(arrays["thin_level"]), *thin)
        if "values" in arrays:
            result.update(arrays["values"])
            return result
        low, high = arrays["range"].tolist()
        histogram = Histogram.of_counts(low, high, arrays["counts"].astype(np.int64), int(arrays["zeros"]))
        result._become(histogram)
        result._minimum, result._maximum, result.count = low, high, histogram.count
        return result

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorStatistics):
            return NotImplemented
        mine, theirs = self.to_arrays(), other.to_arrays()
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[k], theirs[k]) for k in mine)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.count == 0:
            return "TensorStatistics(count=0)"
        kind = "values" if self._histogram is None else "histogram"
        return f"TensorStatistics(count={self.count}, range=[{self.minimum}, {self.maximum}], {kind})"

    @property
    def _kept(self) -> F32:
        return self._buffer[: self.count]

    def _require_data(self) -> None:
        if self.count == 0:
            raise CalibrationError("no calibration data reached this tensor; give at least one sample")

    def _become(self, histogram: Histogram) -> None:
        self._histogram, self._buffer = histogram, NO_VALUES

    def _binned(self) -> Histogram:
        """The values kept so far in a histogram with room for the present range."""
        histogram = Histogram(self._minimum, self._maximum)
        histogram.add(self._kept)
        return histogram

    def _keep_or_bin(self, values: F32) -> None:
        """Take in values, whose range is known, while there is no histogram."""
        if self.count + values.size <= EXACT_LIMIT:
            self._keep(values)
            return
        histogram = self._binned()
        histogram.add(values)
        self._become(histogram)

    def _keep(self, values: F32) -> None:
        needed = self.count + values.size
        if needed > self._buffer.size:
            grown = np.empty(min(max(needed, 2 * self._buffer.size), EXACT_LIMIT), np.float32)
            grown[: self.count] = self._kept
            self._buffer = grown
        # Adding zero makes -0.0 and 0.0 one value: which of two equal numbers came first must not show.
        np.add(values, np.float32(0), out=self._buffer[self.count : needed])
