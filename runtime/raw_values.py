"""All values of a tensor in the order of the samples: what the exact modes of calibration compute on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


class RawValues:
    """Copies of what samples brought, as float32. Memory grows with every sample.

    A function of the set of (sample, values): samples are in the order of their indices whatever the order in
    which they came; those without an index come first, in no defined order.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[int, F32]] = []

    def add(self, sample: int | None, values: F32) -> None:
        """Take in a copy of the values of a sample."""
        self._parts.append((-1 if sample is None else sample, values + np.float32(0)))

    def add_all(self, other: RawValues) -> None:
        """Take in what `other` holds."""
        self._parts += other._parts

    def batches(self, size: int) -> list[F32]:
        """The values of `size` samples after each other, in the order of the samples."""
        indices = sorted({index for index, _ in self._parts})
        place = {index: number // size for number, index in enumerate(indices)}
        found: list[list[F32]] = [[] for _ in range(-(-len(indices) // size))]
        for index, values in sorted(self._parts, key=lambda part: part[0]):
            found[place[index]].append(values)
        return [np.concatenate(parts) for parts in found]

    def ascending(self) -> F32:
        """All values in ascending order."""
        return np.sort(np.concatenate([values for _, values in self._parts] or [np.empty(0, np.float32)]))
