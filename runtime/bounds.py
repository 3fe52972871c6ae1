"""Bounds of integer sums, computed from weights: where float32 stays exact, and where int32 may overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

EXACT_FLOAT32 = 2**24
"""Below it, float32 holds every integer: sums of integers are exact in any order."""
INT32_RANGE = (-(2**31), 2**31 - 1)


def sum_bounds(
    rows: npt.NDArray[np.integer[Any]], bias: npt.NDArray[Any] | None, low: int, high: int
) -> Integers:
    """The largest magnitude that a partial sum of each channel can reach, in whatever order it is taken.

    `rows` are the weights [C, n] of C channels, every weight once; `bias` has C entries; data lie between
    `low` <= 0 and `high` >= 0 (the zero point already taken away).
    """
    positive, negative = _magnitudes(rows)
    upper = positive * high - negative * low
    lower = positive * low - negative * high
    if bias is not None:
        upper = upper + np.maximum(bias, 0)
        lower = lower + np.minimum(bias, 0)
    bound: Integers = np.maximum(upper, -lower)
    return bound


def _magnitudes(rows: npt.NDArray[np.integer[Any]]) -> tuple[Integers, Integers]:
    """Sums of the positive and of the negated negative weights of each row."""
    signed = rows.sum(axis=1, dtype=np.int64)
    positive = np.maximum(rows, 0).sum(axis=1, dtype=np.int64)
    return positive, positive - signed
