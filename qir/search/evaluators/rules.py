"""When is a metric good enough? Rules over numbers, and over tuples, lists and dicts of numbers.

`drop` is what a metric loses: original - new where higher is better, new - original where lower is. Of
several numbers each must satisfy, and the largest drop counts.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from qir.ir.errors import ConfigError
from qir.search.errors import EvaluatorError
from qir.search.evaluators.elements import as_lists
from qir.search.strategies.base import MetricEval

Rule = Callable[[object, object], MetricEval]


@dataclass(frozen=True)
class MaxDrop:
    """Satisfied when the metric loses at most `limit`, of the original's size when `relative`.

    A relative drop of a metric that is zero cannot be told: then it satisfies only when it loses nothing.
    """

    limit: float
    higher_is_better: bool = True
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.limit >= 0 or math.isinf(self.limit):
            raise ConfigError(f"max_drop must be a finite number, 0 or more, not {self.limit}")

    def __call__(self, original: object, new: object) -> MetricEval:
        """Compare two metrics; EvaluatorError when they are no numbers, or not alike."""
        drops = [self._drop(a, b) for a, b in _pairs(original, new)]
        loss = max(drops)
        return loss <= self.limit, loss

    def _drop(self, original: float, new: float) -> float:
        if original == new:
            return 0.0  # infinite ones included
        drop = original - new if self.higher_is_better else new - original
        if not self.relative:
            return drop
        return drop / abs(original) if original else math.copysign(math.inf, drop)


@dataclass(frozen=True)
class Threshold:
    """Satisfied when the metric is at least `bound`, or at most that where lower is better.

    The loss is the distance to the bound: negative when there is room.
    """

    bound: float
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if math.isnan(self.bound):
            raise ConfigError("the bound of the metric must be a number")

    def __call__(self, original: object, new: object) -> MetricEval:
        """Compare the new metric with the bound; EvaluatorError when it is no number."""
        values = [b for _, b in _pairs(original, new)]
        sign = 1 if self.higher_is_better else -1
        loss = max(sign * (self.bound - value) for value in values)
        return loss <= 0, loss


def _pairs(original: object, new: object) -> list[tuple[float, float]]:
    """Numbers of both metrics that belong together."""
    a, b = _numbers(original), _numbers(new)
    if a.keys() != b.keys():
        raise EvaluatorError(
            f"the metrics cannot be compared: that of the original model is {original!r:.100}, the new one "
            f"{new!r:.100}"
        )
    if not a:
        raise EvaluatorError("the metric is empty: there is nothing to compare")
    return [(a[key], b[key]) for key in a]


def _numbers(metric: object) -> dict[tuple[object, ...], float]:
    metric = as_lists(metric)
    if isinstance(metric, (numbers.Real, Decimal)):
        return {(): float(metric)}
    items: list[tuple[object, object]]
    if isinstance(metric, Mapping):
        items = list(metric.items())
    elif isinstance(metric, (tuple, list)):
        items = list(enumerate(metric))
    else:
        raise EvaluatorError(
            f"a metric of type {type(metric).__name__} has no order that max_drop could use: give numbers, "
            "or say in metric_eval of an evaluator class what satisfies"
        )
    return {(key, *path): value for key, item in items for path, value in _numbers(item).items()}
