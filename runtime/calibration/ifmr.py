"""AMCT's IFMR: among ranges whose end moves, the one with the least squared error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration.options import check_percentile, closed_without_scale, outermost_rank
from qir.runtime.calibration.registry import calibrator
from qir.runtime.calibration.sorted_loss import pays, sorted_loss
from qir.runtime.kernels import flat_floats, ifmr_loss, round_half_even
from qir.runtime.kernels.ranges import finite_range
from qir.runtime.scales import (
    checked,
    signed_range,
    symmetric_bound_and_steps,
    without_tiny,
    zero_point_of,
)
from qir.runtime.statistics import TensorStatistics

F32 = npt.NDArray[np.float32]


@calibrator("ifmr")
@dataclass(frozen=True)
class Ifmr:
    """AMCT's IFMR: the range, near the percentiles of the data, with the least squared error.

    The end of the range (both ends when symmetric) is tried at `start`, `start + step`, … below `end` times
    the percentile of the data; the first candidate of least error wins.
    """

    max_percentile: float = 0.999999
    min_percentile: float = 0.999999
    start: float = 0.7
    end: float = 1.3
    step: float = 0.01

    def __post_init__(self) -> None:
        check_percentile("max_percentile", self.max_percentile)
        check_percentile("min_percentile", self.min_percentile)
        if not (0 < self.start < self.end and self.step > 0):
            raise ConfigError(
                "ifmr needs 0 < start < end and step > 0, not "
                f"start={self.start}, end={self.end}, step={self.step}"
            )

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the best candidate: exactly AMCT's while values are kept, else by the histogram."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        values = statistics.values
        if values is not None and values.size:
            return _close_exactly(self, values, spec)
        low = statistics.nth_smallest(outermost_rank(self.min_percentile, statistics.count))
        high = statistics.nth_largest(outermost_rank(self.max_percentile, statistics.count))
        candidates = ifmr_candidates(self, low, high, spec)
        return candidates.choose(statistics.density.loss(*candidates.ranges))


@dataclass(frozen=True)
class Candidates:
    """The candidates of one IFMR search: scale and clipping range of each; `minimum` gives the offset."""

    spec: QuantSpec
    scale: F32
    low: F32
    high: F32
    minimum: np.float32

    @property
    def ranges(self) -> tuple[F32, F32, F32]:
        """(scale, low, high): the arguments of the loss."""
        return self.scale, self.low, self.high

    def choose(self, loss: npt.NDArray[np.float64]) -> QuantParams:
        """Params of the first candidate with the least loss; CalibrationError when all losses overflow."""
        finite = np.where(np.isfinite(loss), loss, np.inf)
        best = int(np.argmin(finite))
        if finite[best] == np.inf:
            width = float(self.high[-1]) - float(self.low[-1])
            raise CalibrationError(
                f"the range of the data, up to {width:.3g}, overflows float32 when squared; "
                "normalize the data, use method min-max, or leave the layer in float"
            )
        scale = self.scale[best]
        if self.spec.symmetric:
            return checked(self.spec, scale, 0)
        offset = -round_half_even(self.minimum / scale) + signed_range(self.spec.qtype)[0]
        return checked(self.spec, scale, zero_point_of(offset, self.spec.qtype))


def ifmr_exact(data: npt.NDArray[Any], spec: QuantSpec, method: Ifmr | None = None) -> QuantParams:
    """IFMR on raw data of any shape and size, AMCT's algorithm without statistics in between.

    CalibrationError when data are empty or not finite. The order of the data does not matter.
    """
    options = method or Ifmr()
    known = closed_without_scale(spec)
    if known is not None:
        return known
    values = np.sort(flat_floats(data))
    if values.size == 0:
        raise CalibrationError("no calibration data; give at least one element")
    finite_range(values)
    return _close_exactly(options, values, spec)


def ifmr_candidates(method: Ifmr, low: float, high: float, spec: QuantSpec) -> Candidates:
    """The candidates for data between two percentiles, in AMCT's float32 arithmetic."""
    minimum, maximum = min(np.float32(low), np.float32(0)), max(np.float32(high), np.float32(0))
    ratios = search_ratios(method.start, method.end, method.step)
    with np.errstate(over="ignore", invalid="ignore"):
        if spec.symmetric:
            bound, steps = symmetric_bound_and_steps(np.asarray([minimum]), np.asarray([maximum]), spec.qtype)
            ends = ratios * bound
            starts, scale = -ends, ends / steps
        else:
            qmin, qmax = signed_range(spec.qtype)
            ends = ratios * maximum
            starts, scale = np.full_like(ends, minimum), (ends - minimum) / np.float32(qmax - qmin)
    return Candidates(spec, without_tiny(scale), starts, ends, minimum)


def search_ratios(start: float, end: float, step: float) -> F32:
    """The ratios start, start + step, … below end, rounded as torch.arange does in float32 (specification M).

    It works in blocks of 8: a block's base is rounded to float32, its elements are float64 sums from there.
    """
    # Rounding to 6 digits keeps (1.3 - 0.7) / 0.01 = 60.00000000000001 from becoming 61 candidates.
    count = max(math.ceil(round((end - start) / step, 6)), 1)
    index = np.arange(count)
    base = (start + (index - index % 8) * step).astype(np.float32)
    return (base.astype(np.float64) + (index % 8) * step).astype(np.float32)


def _close_exactly(method: Ifmr, values: F32, spec: QuantSpec) -> QuantParams:
    """IFMR on all values, in ascending order."""
    low = float(values[outermost_rank(method.min_percentile, values.size) - 1])
    high = float(values[-outermost_rank(method.max_percentile, values.size)])
    candidates = ifmr_candidates(method, low, high, spec)
    many = pays(values.size, 1 << spec.qtype.bits)
    return candidates.choose((sorted_loss if many else ifmr_loss)(values, *candidates.ranges))
