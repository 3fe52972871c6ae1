"""Methods that take a range straight from the statistics: min-max, moving-average, percentile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration.options import check_percentile, closed_without_scale, outermost_rank
from qir.runtime.calibration.registry import calibrator
from qir.runtime.scales import params_of_range
from qir.runtime.statistics import F32, TensorStatistics


@calibrator("min-max")
@dataclass(frozen=True)
class MinMax:
    """The whole range of the data."""

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by minimum and maximum."""
        return closed_without_scale(spec) or params_of_range(statistics.minimum, statistics.maximum, spec)


@calibrator("moving-average")
@dataclass(frozen=True)
class MovingAverage:
    """The moving average of the samples' minima and maxima: depends on the order of the samples.

    Beginning with the range of the first sample, every further one moves either end by
    `averaging_constant` of the way to its own. Batches, threads and shards change nothing: the order is that
    of the samples in the data.
    """

    averaging_constant: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.averaging_constant <= 1:
            raise ConfigError(
                "averaging_constant must be above 0 and at most 1 (each sample's share), "
                f"not {self.averaging_constant}"
            )

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the averages; CalibrationError when statistics hold no ranges of samples."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        _, minima, maxima = statistics.sample_ranges
        if not minima.size:
            _ = statistics.minimum  # CalibrationError when there are no data at all
            raise CalibrationError(
                "these statistics hold no ranges of single samples, which method moving-average needs; "
                "calibrate again from the data, or use another method"
            )
        return params_of_range(self._average(minima), self._average(maxima), spec)

    def _average(self, ends: F32) -> float:
        average, *others = ends.tolist()
        for end in others:
            average += self.averaging_constant * (end - average)
        return float(np.float32(average))


@calibrator("percentile")
@dataclass(frozen=True)
class Percentile:
    """The range without the outermost elements; `percentile` is the fraction of all that either end keeps.

    The ends are the k-th largest and the k-th smallest of L elements, k = L - int(percentile * L) as in IFMR;
    exact while the statistics keep the values, otherwise within one bin of the histogram.
    """

    percentile: float = 0.9999

    def __post_init__(self) -> None:
        check_percentile("percentile", self.percentile)

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the range between the two percentiles."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        rank = outermost_rank(self.percentile, statistics.count)
        return params_of_range(statistics.nth_smallest(rank), statistics.nth_largest(rank), spec)
