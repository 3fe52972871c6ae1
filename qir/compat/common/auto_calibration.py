"""What scripts for accuracy-based automatic calibration inherit from or choose.

The evaluator and the strategies are those of qir's own search, under AMCT's names.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from qir.compat.common.errors import CompatRuntimeError, CompatValueError
from qir.ir.errors import did_you_mean
from qir.runtime.kernels import flat_floats
from qir.runtime.metrics import CosineSimilarity, Metric
from qir.runtime.units import Array
from qir.search.evaluators import Evaluator as AutoCalibrationEvaluatorBase
from qir.search.strategies import BinarySearchStrategy as _BinarySearch
from qir.search.strategies import Strategy

F32 = npt.NDArray[np.float32]

__all__ = [
    "AutoCalibrationEvaluatorBase",
    "AutoCalibrationStrategyBase",
    "BinarySearchStrategy",
    "CosineSimilaritySensitivity",
    "MseSensitivity",
    "SensitivityBase",
    "sensitivity_of",
]


class AutoCalibrationStrategyBase(Strategy):
    """Proposes which layers to roll back; subclasses override `initialize` and `update_quant_config`."""

    def __init__(self) -> None:
        """What subclasses find there in AMCT: a proposal to fill and return, and the last good one."""
        self.result: dict[str, object] = {}
        self.last_acc_result: dict[str, object] = {}
        self.set_flag = True


class BinarySearchStrategy(_BinarySearch, AutoCalibrationStrategyBase):
    """The fewest of the most sensitive layers whose rolling back satisfies."""

    def __init__(self) -> None:
        AutoCalibrationStrategyBase.__init__(self)
        _BinarySearch.__init__(self)


class SensitivityBase(Metric):
    """How near the quantized output of a layer is to its float one; low scores are sensitive layers.

    `compare` may be called from several threads at a time.
    """

    name: ClassVar[str] = "sensitivity"

    @abstractmethod
    def compare(self, data: Array, other: Array) -> float:
        """The score of one batch, `data` from the float layer and `other` from the quantized one."""


class CosineSimilaritySensitivity(SensitivityBase):
    """Half of one plus the cosine of the angle between both: from 0 to 1, where 1 is the same direction."""

    name: ClassVar[str] = "CosineSimilarity"

    def compare(self, data: Array, other: Array) -> float:
        """0.5 + 0.5 cos; 1 when all of `data` is zero, otherwise 0 when all of `other` is."""
        if not np.any(data):
            return 1.0
        return 0.5 + 0.5 * CosineSimilarity().compare(data, other) if np.any(other) else 0.0


class MseSensitivity(SensitivityBase):
    """The distance of both as vectors, divided by their length; high scores are sensitive layers.

    AMCT's search takes them for the least sensitive ones, which turns the ranking round.
    """

    name: ClassVar[str] = "Mse"
    low_is_worse: ClassVar[bool] = False

    def __init__(self, do_normalization: bool = False) -> None:
        """With `do_normalization` either vector is first brought to the range 0 to 1."""
        self._do_normalization = do_normalization

    def compare(self, data: Array, other: Array) -> float:
        """|data - other| / n."""
        a, b = flat_floats(data), flat_floats(other)
        if self._do_normalization:
            a, b = _normalized(a), _normalized(b)
        return float(np.linalg.norm(a - b) / max(a.size, 1))


def sensitivity_of(source: str | SensitivityBase) -> Metric:
    """The object for AMCT's argument `sensitivity`.

    CompatValueError for an unknown name, CompatRuntimeError for an object of another class.
    """
    if isinstance(source, Metric):
        return source
    if not isinstance(source, str):
        raise CompatRuntimeError(
            f"sensitivity is not inherited from base class SensitivityBase: it is a {type(source).__name__}"
        )
    if source != CosineSimilaritySensitivity.name:
        known = (CosineSimilaritySensitivity.name,)
        raise CompatValueError(
            f"there is no sensitivity '{source}'; known: {known[0]}{did_you_mean(source, known)}"
        )
    return CosineSimilaritySensitivity()


def _normalized(values: F32) -> F32:
    low, high = values.min(initial=np.float32(np.inf)), values.max(initial=np.float32(-np.inf))
    normalized: F32 = (values - low) / (high - low + np.finfo(np.float32).eps)
    return normalized
