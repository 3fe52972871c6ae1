"""Minimum and maximum of a tensor in each sample: what methods need for which samples are not alike."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]


class SampleRanges:
    """Ranges by the index of their sample; a sample that comes in parts has the range of all its parts.

    A function of the set of (index, range) alone, whatever the order. Memory: 16 bytes an entry.
    """

    def __init__(self) -> None:
        self._index, self._minima, self._maxima = array("q"), array("f"), array("f")

    def add(self, index: int, minimum: float, maximum: float) -> None:
        """Take in the range of a sample, or of a part of it."""
        self._index.append(index)
        self._minima.append(minimum)
        self._maxima.append(maximum)

    def add_all(self, other: SampleRanges) -> None:
        """Take in all ranges of `other`."""
        self._index.extend(other._index)
        self._minima.extend(other._minima)
        self._maxima.extend(other._maxima)

    def arrays(self) -> tuple[I64, F32, F32]:
        """(indices int64 [n], minima float32 [n], maxima float32 [n]), ascending by index, each once."""
        if not self._index:
            return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32)
        order = np.argsort(np.asarray(self._index, np.int64), kind="stable")
        indices, starts = np.unique(np.asarray(self._index, np.int64)[order], return_index=True)
        minima = np.minimum.reduceat(np.asarray(self._minima, np.float32)[order], starts)
        maxima = np.maximum.reduceat(np.asarray(self._maxima, np.float32)[order], starts)
        return indices, minima, maxima

    @staticmethod
    def of_arrays(indices: I64, minima: F32, maxima: F32) -> SampleRanges:
        """The ranges that `arrays` gave."""
        result = SampleRanges()
        result._index.extend(indices.tolist())
        result._minima.extend(minima.tolist())
        result._maxima.extend(maxima.tolist())
        return result

    def __len__(self) -> int:
        return len(self._index)
