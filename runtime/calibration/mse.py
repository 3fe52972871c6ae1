"""The range with the least squared error of quantization, searched at both ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration.options import check_least, closed_without_scale
from qir.runtime.calibration.registry import calibrator
from qir.runtime.density import Density
from qir.runtime.scales import params_of_range
from qir.runtime.statistics import TensorStatistics

F64 = npt.NDArray[np.float64]

_BINS_PER_LEVEL = 16
"""Resolution of the search; that of the statistics is finer than it needs to be for few bits."""
_ROUNDS = 3
"""How often either end of an asymmetric range is searched at most."""


@calibrator("mse")
@dataclass(frozen=True)
class Mse:
    """The range with the least mean squared error of what it quantizes, clipping included.

    Each end is tried at `candidates` equal steps between 0 and the extreme of the data; symmetric ranges
    have one end to try, asymmetric ones two, in turn while that helps.
    """

    candidates: int = 100

    def __post_init__(self) -> None:
        check_least("mse", "candidates", self.candidates, 1)

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Close `spec` by the best range; the widest of equals."""
        known = closed_without_scale(spec)
        if known is not None:
            return known
        low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
        bins = max(_BINS_PER_LEVEL << spec.qtype.bits, 1 << 12)
        density = statistics.density.coarse(bins)
        parts = np.arange(self.candidates, 0, -1) / self.candidates
        if spec.symmetric:
            losses = _losses(density, low * parts, high * parts, spec)
            best = parts[int(np.argmin(losses))]
            return params_of_range(low * best, high * best, spec)
        for _ in range(_ROUNDS):
            before = low, high
            # From the second round on an end may grow again: it is tried all the way out.
            ends = max(statistics.maximum, 0.0) * parts
            high = float(ends[int(np.argmin(_losses(density, np.full(ends.size, low), ends, spec)))])
            ends = min(statistics.minimum, 0.0) * parts
            low = float(ends[int(np.argmin(_losses(density, ends, np.full(ends.size, high), spec)))])
            if (low, high) == before:
                break
        return params_of_range(low, high, spec)


def _losses(density: Density, low: F64, high: F64, spec: QuantSpec) -> F64:
    """The squared error of the params of each range; CalibrationError when all overflow."""
    params = params_of_range(low, high, replace(spec, axis=0))
    scale, zero = params.scale_array(), params.zero_point_array()
    qmin, qmax = spec.qtype.integer_range
    with np.errstate(over="ignore"):
        start, end = ((np.float32(q) - zero.astype(np.float32)) * scale for q in (qmin, qmax))
    losses = density.loss(scale, start, end)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    if not np.isfinite(losses).any():
        raise CalibrationError(
            f"the range of the data, [{low[0]:.3g}, {high[0]:.3g}], overflows float32 when squared; "
            "normalize the data, use method min-max, or leave the layer in float"
        )
    return losses
