"""Histograms aligned at zero with power-of-two bin widths, which grow by merging pairs of bins.

The width depends on the largest magnitude seen and on nothing else, and merging bins is exact; therefore a
histogram is a function of the data alone: batches, order, threads and shards cannot change it. See
`kernels/binning.py` for the definition of a bin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels import binning
from qir.runtime.kernels.binning import BINS, BINS_LOG2, MIN_EXPONENT


def exponent_for(magnitude: float) -> int:
    """Exponent of the finest bin width that covers [-magnitude, magnitude] with BINS bins on either side."""
    return max(int(np.frexp(magnitude)[1]) - BINS_LOG2, MIN_EXPONENT)


@dataclass
class Histogram:
    """Counts of finite float32 numbers in bins of width 2^exponent; `counts[BINS + k]` is that of bin k.

    `zeros` of the elements in bin 0 are exactly zero. Memory: 64 KiB.
    """

    exponent: int
    counts: npt.NDArray[np.int64]
    zeros: int = 0

    @staticmethod
    def empty(magnitude: float) -> Histogram:
        """A histogram without elements whose bins cover [-magnitude, magnitude]."""
        return Histogram(exponent_for(magnitude), np.zeros(2 * BINS, np.int64))

    @property
    def width(self) -> float:
        """Width of a bin (bin 0 is twice as wide)."""
        return float(2.0**self.exponent)

    def cover(self, magnitude: float) -> None:
        """Widen the bins until they cover [-magnitude, magnitude]; they never become finer."""
        self._widen(exponent_for(magnitude))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count contiguous finite values, which must lie within the covered range."""
        self.zeros += binning.add_counts(values, np.float32(2.0**-self.exponent), self.counts)

    def add_histogram(self, other: Histogram) -> None:
        """Count all elements of `other`, which is left as it is."""
        self._widen(other.exponent)
        self.counts += coarsened(other.counts, self.exponent - other.exponent)
        self.zeros += other.zeros

    def _widen(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = coarsened(self.counts, exponent - self.exponent)
            self.exponent = exponent


def coarsened(counts: npt.NDArray[np.int64], doublings: int) -> npt.NDArray[np.int64]:
    """The counts in bins 2^doublings times as wide."""
    if doublings == 0:
        return counts
    result = np.zeros_like(counts)
    bins = np.arange(-BINS, BINS)
    # Rounding toward zero, as the bins do; the counts are integers, therefore the order of additions is no
    # matter.
    merged = np.sign(bins) * (np.abs(bins) >> min(doublings, 62))
    np.add.at(result, merged + BINS, counts)
    return result
