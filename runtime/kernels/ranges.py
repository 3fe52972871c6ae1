"""Range of data: the front end of the compiled reduction, and what its bit patterns mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.runtime.kernels import binning

_SIGN = 0x80000000
_LARGEST_FINITE = 0x7F7FFFFF


def flat_floats(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """All elements as one contiguous float32 vector; no copy when they already are."""
    if array.dtype == np.float32 and array.flags.c_contiguous and array.flags.aligned:
        return array.reshape(-1)
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "A"]).reshape(-1)


def finite_range(values: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Minimum and maximum of a non-empty contiguous vector; -0.0 counts as 0.0.

    CalibrationError, saying how many, when values are NaN or infinite.
    """
    extremes = np.asarray([-_SIGN, 0, 2 * _SIGN - 1], np.int64)
    binning.extend_extremes(values.view(np.uint32), extremes)
    signed, high, low = extremes.tolist()
    if signed > _LARGEST_FINITE or high > _LARGEST_FINITE + _SIGN:
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        raise CalibrationError(f"{bad} of {values.size} values are NaN or infinite")
    # Negative numbers have the larger unsigned patterns, the more so the farther from zero.
    return _number(high if high >= _SIGN else low), _number(signed if signed >= 0 else low)


def _number(pattern: int) -> float:
    return float(np.uint32(pattern).view(np.float32)) + 0.0
