"""The loss of IFMR's candidates on many values in ascending order: sums between levels, not over values.

Sorted values that round to one level stand side by side, so with the sums of x and x^2 up to any place

    sum (q S - x)^2  =  n q^2 S^2 - 2 q S sum x + sum x^2

costs a search for the borders of each level. AMCT squares every value in float32;
here nothing is rounded on the way, so losses agree to float32's last digits only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_BLOCK = 64
"""Sums are kept for blocks of so many values."""
_NOISE = 1e-13


def sorted_loss(x: F32, scale: F32, low: F32, high: F32) -> F64:
    """Sum of squared errors of x, in ascending order, under each candidate with its clipping range.

    What is lost by cancellation, 1e-13 of the sum of all squares, counts as no error.
    """
    sums = _Sums(x)
    losses = np.asarray([_loss(sums, *c) for c in zip(scale, low, high, strict=True)])
    return np.where(losses < _NOISE * sums.total, 0.0, losses)


def pays(count: int, levels: int) -> bool:
    """Whether it is faster than a walk over `count` values, when `levels` borders must be searched."""
    return count > 64 * _BLOCK * levels


class _Sums:
    """The sums of x and x^2 below any place in x."""

    def __init__(self, x: F32) -> None:
        self.x = x
        whole = x.size // _BLOCK
        self._blocks = x[: whole * _BLOCK].reshape(-1, _BLOCK)
        self._rest = np.zeros(_BLOCK, np.float32)
        self._rest[: x.size - whole * _BLOCK] = x[whole * _BLOCK :]
        self._first, self._second = np.zeros(whole + 1), np.zeros(whole + 1)
        np.cumsum(self._blocks.sum(axis=1, dtype=np.float64), out=self._first[1:])
        squares = np.einsum("ij,ij->i", self._blocks, self._blocks, dtype=np.float64)
        np.cumsum(squares, out=self._second[1:])

    @property
    def total(self) -> float:
        """The sum of all squares."""
        return float(self._second[-1] + np.square(self._rest, dtype=np.float64).sum())

    def below(self, places: I64) -> tuple[F64, F64]:
        """The sums of all x[i] and x[i]^2 with i < place, for each place."""
        block, inside = np.divmod(places, _BLOCK)
        rows = np.where(
            (block < len(self._blocks))[:, None],
            self._blocks[np.minimum(block, len(self._blocks) - 1)],
            self._rest,
        ).astype(np.float64)
        rows[np.arange(_BLOCK) >= inside[:, None]] = 0
        return self._first[block] + rows.sum(axis=1), self._second[block] + (rows * rows).sum(axis=1)


def _loss(sums: _Sums, step: np.float32, low: np.float32, high: np.float32) -> float:
    levels = np.arange(np.rint(low / step), np.rint(high / step) + 1)
    borders = ((levels[:-1] + 0.5) * np.float64(step)).astype(np.float32)
    places = np.concatenate([[0], np.searchsorted(sums.x, borders), [sums.x.size]])
    first, second = sums.below(places)
    value = (levels.astype(np.float32) * step).astype(np.float64)
    terms = np.diff(second) - 2 * value * np.diff(first) + value * value * np.diff(places)
    return float(np.maximum(terms, 0).sum())
