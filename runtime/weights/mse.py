"""The scale of each channel under which rounding its weights costs the least squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.kernels import weight_search
from qir.runtime.scales import FLT_EPSILON, checked
from qir.runtime.weights.method import F32, check_symmetric, checked_rows, in_threads, params_of_rows

F64 = npt.NDArray[np.float64]
_ROUNDS = 2


@dataclass(frozen=True)
class Mse:
    """The least squared error among candidates, each fitted to the integers that it gives.

    Candidates are ARQ's scale times `start`, `start + step`, … up to `end`. For the integers q of weights w
    the best scale is sum(w q) / sum(q^2), with the error sum(w^2) - sum(w q)^2 / sum(q^2): the candidate for
    which that is least wins, and its fitted scale is rounded and fitted again. Where ARQ's scale is no worse
    it stays, so that the error is never above ARQ's.
    """

    start: float = 0.3
    end: float = 1.2
    step: float = 0.02

    def __post_init__(self) -> None:
        if not (0 < self.start <= self.end <= 2 and self.step > 0):
            raise ConfigError(
                "method mse needs 0 < start <= end <= 2 and step > 0, as parts of the scale of the whole "
                f"range, not start={self.start}, end={self.end}, step={self.step}"
            )
        if self.end - self.start > 1000 * self.step:
            raise ConfigError(f"method mse tries 1000 candidates at most; step={self.step} is too small")

    def close(self, weights: npt.NDArray[Any], spec: QuantSpec) -> QuantParams:
        """Close `spec` by a search in each channel."""
        check_symmetric("mse", spec)
        rows = checked_rows(weights, spec)
        whole = params_of_rows(rows, spec).scale_array()
        low, high = spec.qtype.integer_range
        count = int((self.end - self.start) / self.step + 1e-6) + 1
        parts = np.float32(self.start + self.step * np.arange(count))
        scale = _fitted(rows, whole[:, None] * parts, whole, low, high)
        found = [whole, scale]
        for _ in range(_ROUNDS):
            found.append(_fitted(rows, found[-1][:, None], found[-1], low, high))
        candidates = np.stack(found, axis=1)
        errors = _errors(rows, candidates, low, high)
        best = errors.argmin(axis=1)  # the first of equals
        return checked(spec, candidates[np.arange(best.size), best], 0)


def _fitted(rows: F32, scale: F32, otherwise: F32, low: int, high: int) -> F32:
    """For each row the best scale for the integers that one of its candidates `scale` [C, K] gives.

    Scales that are no usable numbers are replaced by `otherwise` [C].
    """
    scale = np.ascontiguousarray(np.where(scale < FLT_EPSILON, otherwise[:, None], scale))
    products, squares = np.empty(scale.shape), np.empty(scale.shape)
    in_threads(
        lambda first, last: weight_search.projections(rows, scale, low, high, first, last, products, squares),
        scale.size,
        rows.shape[1] * scale.size,
    )
    with np.errstate(all="ignore"):
        explained = np.where(squares > 0, products * products / squares, 0.0)
        best = explained.argmax(axis=1)[:, None]
        fitted = np.take_along_axis((products / squares), best, 1)[:, 0].astype(np.float32)
        usable = np.isfinite(fitted) & (fitted >= FLT_EPSILON)
    return np.where(usable, fitted, otherwise)


def _errors(rows: F32, scale: F32, low: int, high: int) -> F64:
    """Sum of squared errors of each row under each of its candidates [C, K]."""
    errors = np.empty(scale.shape)
    in_threads(
        lambda first, last: weight_search.squared_errors(rows, scale, low, high, first, last, errors),
        scale.size,
        rows.shape[1] * scale.size,
    )
    return errors
