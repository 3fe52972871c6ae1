"""Range of data: the front end of the compiled reduction, and what its bit patterns mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.runtime.kernels import binning

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]

_SIGN = 0x80000000
_LARGEST_FINITE = 0x7F7FFFFF
_NO_COUNTS = np.empty(0, np.uint32)


def flat_floats(array: npt.NDArray[Any]) -> F32:
    """All elements as one contiguous float32 vector; no copy when they already are."""
    if array.dtype == np.float32 and array.flags.c_contiguous and array.flags.aligned:
        return array.reshape(-1)
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "A"]).reshape(-1)


def prefetch() -> None:
    """Let what `finite_range` and counting need load beside other work."""
    binning.count_covered.prefetch()


def finite_range(values: F32) -> tuple[float, float]:
    """Minimum and maximum of a non-empty contiguous vector; -0.0 counts as 0.0.

    CalibrationError, saying how many, when values are NaN or infinite.
    """
    return finite_range_counted(values, NOTHING, 1.0, _NO_COUNTS)[:2]


class Covered(NamedTuple):
    """Bit patterns up to which numbers are counted: of positive and of negative ones."""

    positive: int
    negative: int

    @staticmethod
    def of(low: float, high: float) -> Covered:
        """The numbers from `low` to `high`, and zero."""
        ends = np.maximum([high, -low], 0.0).astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
        positive, negative = ends.view(np.uint32).tolist()
        return Covered(positive, negative + _SIGN)


NOTHING, ALL_FINITE = Covered(-1, -1), Covered(_LARGEST_FINITE, _LARGEST_FINITE + _SIGN)


def finite_range_counted(
    values: F32, covered: Covered, inverse_width: float, counts: U32
) -> tuple[float, float, bool]:
    """Minimum and maximum as from `finite_range`, and whether the values were counted as well.

    They are, in bins of width 1 / inverse_width, when all of them are `covered`. CalibrationError for NaN and
    infinite values, with their number.
    """
    found = np.empty(4, np.int64)
    binning.count_covered(values, values.view(np.uint32), inverse_width, *covered, found, counts)
    signed, high, low, counted = found.tolist()
    if signed > _LARGEST_FINITE or high > _LARGEST_FINITE + _SIGN:
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        raise CalibrationError(f"{bad} of {values.size} values are NaN or infinite")
    # Negative numbers have the larger unsigned patterns, the more so the farther from zero.
    least, greatest = _number(high if high >= _SIGN else low), _number(signed if signed >= 0 else low)
    return least, greatest, counted == 1


def _number(pattern: int) -> float:
    return float(np.uint32(pattern).view(np.float32)) + 0.0
