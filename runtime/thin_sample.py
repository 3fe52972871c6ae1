"""A thin sample of all elements of a tensor, to find values that come again and again.

Kept are the elements whose place, counted from an offset of the sample's own, is a multiple of 3^level. The
level is the lowest at which at most LIMIT elements are left. As multiples of 3^(level + 1) are among those of
3^level, that is a function of the samples alone, in whatever order they come and merge. A power of 3 shares
no factor with most sizes of tensors, so that all channels and all columns are met.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]

LIMIT = 1 << 13
"""Elements kept at most; they take 64 KiB."""
_BASE = 3
_OFFSETS, _SPREAD = 3**18, 2654435761  # Knuth's multiplicative hash


class ThinSample:
    """Elements with their places in units of 3^level. A place and an offset together are below 2^32."""

    def __init__(self) -> None:
        self.level = 0
        self._parts: list[tuple[F32, U32]] = []
        self._size = 0

    @property
    def values(self) -> F32:
        """The elements, ascending."""
        return np.sort(self._joined()[0])

    def add(self, sample: int, values: F32) -> None:
        """Take in a whole tensor of a sample."""
        while (values.size - 1) // _BASE**self.level > LIMIT:
            self._thin()  # it would have to be done for these elements alone
        offset, stride = sample * _SPREAD % _OFFSETS, _BASE**self.level
        start = -offset % stride
        if start < values.size:
            kept = values[start::stride] + np.float32(0)
            first = (offset + start) // stride
            self._extend(kept, np.arange(first, first + kept.size, dtype=np.uint32))

    def add_all(self, other: ThinSample) -> None:
        """Take in what `other` has kept, which is left as it is."""
        while self.level < other.level:
            self._thin()
        values, places = other._joined()
        for _ in range(self.level - other.level):
            values, places = _thinned(values, places)
        self._extend(values, places)

    def arrays(self) -> tuple[F32, U32]:
        """(values, places), ordered by value and then by place."""
        values, places = self._joined()
        order = np.lexsort((places, values))
        return values[order], places[order]

    @staticmethod
    def of_arrays(level: int, values: F32, places: U32) -> ThinSample:
        """The sample with that level and these arrays."""
        result = ThinSample()
        result.level = level
        result._extend(values, places)
        return result

    def __len__(self) -> int:
        return self._size

    def _extend(self, values: F32, places: U32) -> None:
        self._parts.append((values, places))
        self._size += values.size
        while self._size > LIMIT:
            self._thin()

    def _joined(self) -> tuple[F32, U32]:
        """All elements and places in one piece each."""
        if len(self._parts) != 1:
            empty = (np.empty(0, np.float32), np.empty(0, np.uint32))
            values, places = zip(empty, *self._parts, strict=True)
            self._parts = [(np.concatenate(values), np.concatenate(places))]
        return self._parts[0]

    def _thin(self) -> None:
        values, places = _thinned(*self._joined())
        self._parts, self._size = [(values, places)], values.size
        self.level += 1


def _thinned(values: F32, places: U32) -> tuple[F32, U32]:
    """What is left on the next level."""
    kept = places % _BASE == 0
    return values[kept], places[kept] // _BASE
