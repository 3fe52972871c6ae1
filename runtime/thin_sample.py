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
        self._values, self._places = np.empty(0, np.float32), np.empty(0, np.uint32)

    @property
    def values(self) -> F32:
        """The elements, ascending."""
        return np.sort(self._values)

    def add(self, sample: int, values: F32) -> None:
        """Take in a whole tensor of a sample."""
        while (values.size - 1) // _BASE**self.level + 1 > LIMIT + 1:
            self._thin()
        offset, stride = sample * _SPREAD % _OFFSETS, _BASE**self.level
        start = -offset % stride
        kept = values[start::stride] + np.float32(0)
        places = (offset + start) // stride + np.arange(kept.size, dtype=np.int64)
        self._extend(kept, places.astype(np.uint32))

    def add_all(self, other: ThinSample) -> None:
        """Take in what `other` has kept, which is left as it is."""
        while self.level < other.level:
            self._thin()
        values, places = other._values, other._places
        for _ in range(self.level - other.level):
            kept = places % _BASE == 0
            values, places = values[kept], places[kept] // _BASE
        self._extend(values, places)

    def arrays(self) -> tuple[F32, U32]:
        """(values, places), ordered by value and then by place."""
        order = np.lexsort((self._places, self._values))
        return self._values[order], self._places[order]

    @staticmethod
    def of_arrays(level: int, values: F32, places: U32) -> ThinSample:
        """The sample with that level and these arrays."""
        result = ThinSample()
        result.level, result._values, result._places = level, values, places
        return result

    def __len__(self) -> int:
        return self._values.size

    def _extend(self, values: F32, places: U32) -> None:
        self._values = np.concatenate([self._values, values])
        self._places = np.concatenate([self._places, places])
        while self._values.size > LIMIT:
            self._thin()

    def _thin(self) -> None:
        kept = self._places % _BASE == 0
        self._values, self._places = self._values[kept], self._places[kept] // _BASE
        self.level += 1
