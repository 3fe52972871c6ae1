"""What a calibration run has gathered so far: statistics by value, and which values were not finite."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qir.runtime.statistics import TensorStatistics


class Problem(NamedTuple):
    """Why a value has no statistics: the first unit in which it could not be measured, and a sentence."""

    unit: int
    message: str


class Measured:
    """Statistics of values by name; mergeable like them, in any order.

    A value with a problem has no statistics, and of several problems the one of the first unit counts.
    Values named in `raw` are kept as they are, too. `units` is how many runs of the model they are from.
    """

    def __init__(self, names: Iterable[str], raw: Container[str] = ()) -> None:
        self.tensors = {name: TensorStatistics(raw=name in raw) for name in names}
        self.problems: dict[str, Problem] = {}
        self.units = 0

    def note(self, name: str, problem: Problem) -> None:
        """Give up on a value."""
        self.problems[name] = min(problem, self.problems.get(name, problem))
        self.tensors.pop(name, None)

    @staticmethod
    def merge(a: Measured, b: Measured) -> Measured:
        """What both have gathered; they are left as they are."""
        result = Measured(())
        result.units = a.units + b.units
        for part in (a, b):
            for name, problem in part.problems.items():
                result.note(name, problem)
        for name in dict.fromkeys((*a.tensors, *b.tensors)):
            found = [part.tensors[name] for part in (a, b) if name in part.tensors]
            if name not in result.problems:
                result.tensors[name] = TensorStatistics.merge(*found) if len(found) == 2 else found[0]
        return result


Arrays = dict[str, npt.NDArray[Any]]


def packed(statistics: TensorStatistics) -> Arrays:
    """The arrays of statistics, counts in the narrowest unsigned type that holds them."""
    return {
        name: _narrow(array) if name == "counts" else array for name, array in statistics.to_arrays().items()
    }


def _narrow(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    largest = int(counts.max(initial=0))
    kinds = (np.uint8, np.uint16, np.uint32)
    return counts.astype(next((k for k in kinds if largest <= np.iinfo(k).max), np.uint64))
