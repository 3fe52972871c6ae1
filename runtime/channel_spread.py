"""How the values of each channel of a tensor spread, from a stream of arrays that is read twice.

The first reading gives the range of every channel, the second counts its values in `BINS` bins of that range.
Memory depends on the number of channels, not on that of the values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ArgumentError, CalibrationError
from qir.runtime.units import Array

BINS = 1024
"""Quartiles are right to a bin: this part of the range of the channel."""
QUARTILES = (0.25, 0.5, 0.75)

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """By channel, float64 [C]: the least and greatest value, and quartiles [3, C]."""

    least: F64
    greatest: F64
    quartiles: F64


def checked_axis(shape: tuple[int, ...], axis: int, tensor: str) -> int:
    """The axis counted from the front; ArgumentError when the tensor does not have it."""
    if not -len(shape) <= axis < len(shape):
        raise ArgumentError("axis", f"tensor '{tensor}' of shape {list(shape)} has no axis {axis}")
    return axis % len(shape)


def channel_ranges(array: Array, axis: int, tensor: str) -> tuple[F64, F64]:
    """(least, greatest) of each channel; CalibrationError for values that are not finite."""
    rows = _rows(array, axis)
    if rows.size == 0:
        raise CalibrationError(f"tensor '{tensor}' is empty: its channels have no values")
    least, greatest = rows.min(axis=1), rows.max(axis=1)
    if not (np.isfinite(least).all() and np.isfinite(greatest).all()):
        raise CalibrationError(f"tensor '{tensor}' has values that are NaN or infinite; repair the sample")
    return least.astype(np.float64), greatest.astype(np.float64)


def channel_counts(array: Array, axis: int, least: F64, greatest: F64) -> I64:
    """How many values of each channel lie in each bin of its range: [C, BINS]."""
    rows = _rows(array, axis)
    span = np.where(greatest > least, greatest - least, 1.0)
    counts = np.zeros((len(rows), BINS), np.int64)
    for channel, row in enumerate(rows):
        places = ((row - least[channel]) * (BINS / span[channel])).astype(np.int64)
        counts[channel] = np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)
    return counts


def spread_of(least: F64, greatest: F64, counts: I64) -> Spread:
    """Quartiles by linear interpolation within their bins."""
    width = (greatest - least) / BINS
    below = np.cumsum(counts, axis=1)
    total = below[:, -1:]
    quartiles = []
    for part in QUARTILES:
        rank = part * total[:, 0]
        place = (below < rank[:, None]).sum(axis=1)
        inside = np.take_along_axis(counts, place[:, None], 1)[:, 0]
        before = np.take_along_axis(below, place[:, None], 1)[:, 0] - inside
        quartiles.append(least + width * (place + (rank - before) / np.maximum(inside, 1)))
    return Spread(least, greatest, np.stack(quartiles))


def exact_spread(array: Array, axis: int, tensor: str) -> Spread:
    """The spread of a single array, without bins."""
    least, greatest = channel_ranges(array, axis, tensor)
    quartiles = np.quantile(_rows(array, axis).astype(np.float64), QUARTILES, axis=1)
    return Spread(least, greatest, quartiles)


def _rows(array: Array, axis: int) -> Array:
    """A row per channel."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
