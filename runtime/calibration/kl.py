"""Entropy calibration: the range whose quantized distribution diverges least from that of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration.options import check_least, closed_without_scale
from qir.runtime.calibration.registry import calibrator
from qir.runtime.density import Density
from qir.runtime.kernels.searching import divergences
from qir.runtime.scales import params_of_range
from qir.runtime.statistics import TensorStatistics

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@calibrator("kl")
@dataclass(frozen=True)
class Kl:
    """TensorRT's entropy calibration: the threshold with the least Kullback-Leibler divergence.

    Thresholds are tried at the edges of `num_bin` bins between 0 and the largest magnitude, from as many
    bins on as the type has levels. Symmetric signed types compare magnitudes in 2^(n-1) groups. Asymmetric
    ones, and unsigned ones, compare the signed distribution in 2^n groups between -threshold and threshold,
    or where the data end if that is nearer: for one-sided data all levels lie on their side. Elements that
    are exactly zero are left out: every range represents them. A type with as many levels as bins (16 bits)
    loses nothing by its steps, so nothing is clipped: min-max.

    With `max_num_bin` above `num_bin`, a bin is the part `1 / num_bin` of a typical sample's largest
    magnitude (their median) and there are as many as the data need, up to `max_num_bin`: outliers in a few
    samples do not coarsen the others. Without ranges of samples it has no effect.
    """

    num_bin: int = 2048
    max_num_bin: int = 16384

    def __post_init__(self) -> None:
        check_least("kl", "num-bin", self.num_bin, 129)
        check_least("kl", "max-num-bin", self.max_num_bin, 258)
        if self.max_num_bin < self.num_bin:
            raise ConfigError(
                f"kl needs a max-num-bin of at least num-bin, not {self.max_num_bin} below {self.num_bin}"
            )

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the best threshold; the lowest of equals."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
        widest = params_of_range(low, high, spec)  # refuses what the type cannot hold
        amplitude, bins = max(-low, high), self._bins(statistics)
        one_tailed = spec.symmetric and spec.qtype.integer_range[0] < 0
        levels = 1 << (spec.qtype.bits - 1 if one_tailed else spec.qtype.bits)
        if amplitude == 0 or levels >= bins:
            return widest
        histogram = _magnitudes if one_tailed else _signed
        counts, left, right = histogram(statistics.density, low, high, bins)
        found = np.empty(left.size)
        divergences(counts, left, right, levels, found)
        best = int(np.argmin(found))
        if found[best] == np.inf:
            return widest
        threshold = amplitude * ((best + 1) / bins)
        return params_of_range(max(low, -threshold), min(high, threshold), spec)

    def _bins(self, statistics: TensorStatistics) -> int:
        """Bins between 0 and the largest magnitude."""
        _, minima, maxima = statistics.sample_ranges
        typical = float(np.median(np.maximum(-minima, maxima))) if minima.size else 0.0
        if typical <= 0:
            return self.num_bin
        amplitude = max(-statistics.minimum, statistics.maximum)
        return min(max(math.ceil(self.num_bin * amplitude / typical), self.num_bin), self.max_num_bin)


def _magnitudes(density: Density, low: float, high: float, bins: int) -> tuple[F64, I64, I64]:
    """Counts of magnitudes in `bins` bins, and the first bin and the end of each threshold's range."""
    edges = np.linspace(0.0, max(-low, high), bins + 1)
    counts = density.counts(edges) + density.counts(-edges[::-1])[::-1]
    right = np.arange(1, bins + 1)
    return np.ascontiguousarray(counts), np.zeros_like(right), right


def _signed(density: Density, low: float, high: float, bins: int) -> tuple[F64, I64, I64]:
    """Counts in bins on both sides of zero as far as data reach, and the range of each threshold."""
    amplitude = max(-low, high)
    below, above = (math.ceil(end / amplitude * bins) for end in (-low, high))
    edges = np.arange(-below, above + 1, dtype=np.float64) * (amplitude / bins)
    threshold = np.arange(1, bins + 1)
    counts = density.counts(edges)
    return counts, below - np.minimum(threshold, below), below + np.minimum(threshold, above)
