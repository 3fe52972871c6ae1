"""Range of finite data: the front end of the compiled reduction."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.runtime.kernels import binning


def flat_floats(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """All elements as one contiguous float32 vector; no copy when they already are."""
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "A"]).reshape(-1)


def finite_range(values: npt.NDArray[np.float32]) -> tuple[np.float32, np.float32]:
    """Minimum and maximum of a non-empty contiguous vector, zero never negative.

    CalibrationError when values are not finite; the message says how many.
    """
    keys = np.empty(2, np.int32)
    binning.key_range(values.view(np.int32), keys)
    low, high = keys.tolist()
    if low < ~binning.LARGEST_KEY or high > binning.LARGEST_KEY:
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        raise CalibrationError(f"{bad} of {values.size} values are NaN or infinite")
    return _of_key(low), _of_key(high)


def _of_key(key: int) -> np.float32:
    """The number with this sort key; -0.0 becomes 0.0."""
    bits = np.asarray(key if key >= 0 else key ^ 0x7FFFFFFF, np.int32)
    number: np.float32 = bits.view(np.float32)[()] + np.float32(0)
    return number
