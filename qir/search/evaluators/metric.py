"""An evaluator made of a function that measures, and of a rule that says what is good enough."""

from __future__ import annotations

from collections.abc import Callable

from qir.search.evaluators.base import Evaluator
from qir.search.evaluators.rules import Rule
from qir.search.evaluators.source import function_digest
from qir.search.strategies.base import MetricEval


class MetricEvaluator(Evaluator):
    """`metric` maps a model file to a metric; `compare` is (original, new) -> (satisfied, loss)."""

    def __init__(self, metric: Callable[[str], object], compare: Rule) -> None:
        self._metric, self.rule = metric, compare

    def evaluate(self, model_file: str) -> object:
        """What the function says of the model."""
        return self._metric(model_file)

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """What the rule says."""
        return self.rule(original_metric, new_metric)

    @property
    def title(self) -> str:
        """The function's name."""
        name = getattr(self._metric, "__name__", type(self._metric).__name__)
        return "a lambda" if name == "<lambda>" else name

    def modules(self) -> frozenset[str]:
        """That of the function."""
        return frozenset({getattr(self._metric, "__module__", None) or type(self._metric).__module__})

    def fingerprint(self) -> str:
        """Of the function: the rule does not change what is measured."""
        return function_digest(self._metric)


class RuledEvaluator(Evaluator):
    """Another evaluator that measures, with a rule in the place of its `metric_eval`."""

    def __init__(self, inner: Evaluator, rule: Rule) -> None:
        self._inner, self.rule = inner, rule

    def calibration(self, model_file: str) -> object:
        """The inner evaluator's."""
        return self._inner.calibration(model_file)

    def evaluate(self, model_file: str) -> object:
        """The inner evaluator's metric."""
        return self._inner.evaluate(model_file)

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """What the rule says."""
        return self.rule(original_metric, new_metric)

    def prepare(self, model_file: str) -> None:
        """Tell the inner evaluator."""
        self._inner.prepare(model_file)

    @property
    def title(self) -> str:
        """The inner evaluator's."""
        return evaluator_title(self._inner)

    def modules(self) -> frozenset[str]:
        """The inner evaluator's."""
        return self._inner.modules()

    def fingerprint(self) -> str:
        """The inner evaluator's: the rule does not change what is measured."""
        return self._inner.fingerprint()


def evaluator_title(evaluator: Evaluator) -> str:
    """What reports call an evaluator; a `title` of a user's class may be anything."""
    if isinstance(evaluator, (MetricEvaluator, RuledEvaluator)):
        return evaluator.title
    return type(evaluator).__name__


def rule_of(evaluator: Evaluator) -> Rule | None:
    """The rule that decides in the place of the user's own `metric_eval`, where there is one."""
    return evaluator.rule if isinstance(evaluator, (MetricEvaluator, RuledEvaluator)) else None
