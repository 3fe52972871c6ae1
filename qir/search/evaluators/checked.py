"""Calls of the user's evaluator, with its errors and wrong answers turned into messages."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from qir.ir.errors import QirError
from qir.search.errors import AccuracyRuleError, EvaluatorError
from qir.search.evaluators.base import Evaluator
from qir.search.evaluators.elements import only_element
from qir.search.evaluators.metric import rule_of
from qir.search.evaluators.rules import Threshold
from qir.search.strategies.base import MetricEval

ORIGINAL_FAILS = (
    "Compare between original_accuracy and original_accuracy can not satisfy the acc requirement, please "
    "check the metric_eval() function."
)


def prepare(evaluator: Evaluator, model_file: str) -> None:
    """Tell the evaluator the original model; EvaluatorError when it raises."""
    try:
        evaluator.prepare(model_file)
    except (Exception, SystemExit) as error:
        raise EvaluatorError(f"prepare of the evaluator {_said(error)}") from error


def measured(evaluator: Evaluator, model_file: str, what: str) -> object:
    """The metric of a model; EvaluatorError, naming `what`, when it raises, or gives None or NaN."""
    try:
        metric = evaluator.evaluate(model_file)
    except NotImplementedError as error:
        raise EvaluatorError(f"evaluator {type(evaluator).__name__} has no evaluate method") from error
    except QirError as error:
        raise EvaluatorError(f"{error} (the evaluator says, of {what})") from error
    except (Exception, SystemExit) as error:
        raise EvaluatorError(f"the evaluator {_said(error)}, when it was given {what}") from error
    if metric is None:
        raise EvaluatorError(f"the evaluator returned None for {what}; evaluate must return the metric")
    if _has_nan(metric):
        raise EvaluatorError(f"the evaluator returned {metric!r:.100} for {what}: that is not a number")
    return metric


def judged(evaluator: Evaluator, original: object, new: object) -> MetricEval:
    """What `metric_eval` says; EvaluatorError when it raises, or gives no (bool, number)."""
    try:
        answer = evaluator.metric_eval(original, new)
    except NotImplementedError as error:
        raise EvaluatorError(f"evaluator {type(evaluator).__name__} has no metric_eval method") from error
    except (Exception, SystemExit) as error:
        message = str(error) if isinstance(error, QirError) else f"metric_eval {_said(error)}"
        raise EvaluatorError(f"{message} (metrics {original!r:.100} and {new!r:.100})") from error
    found = _as_metric_eval(answer)
    if found is None:
        raise EvaluatorError(f"metric_eval must return (satisfied: bool, loss: float), not {answer!r:.100}")
    return found


def check_original(evaluator: Evaluator, original: object) -> MetricEval:
    """The verdict on the original model itself; AccuracyRuleError, a ValueError too, unless it satisfies."""
    answer = judged(evaluator, original, original)
    if answer[0]:
        return answer
    rule = rule_of(evaluator)
    if isinstance(rule, Threshold):
        wanted = f"at most {rule.bound:g}"
        if rule.higher_is_better:
            wanted = f"at least {rule.bound:g}; if less is better, say so (higher_is_better=False)"
        raise AccuracyRuleError(
            "the original model itself does not reach what at_least asks for: its metric is "
            f"{original!r:.100}, and must be {wanted}"
        )
    raise AccuracyRuleError(
        f"{ORIGINAL_FAILS} (The metric of the original model is {original!r:.100}, its loss {answer[1]:.6g})"
    )


def _as_metric_eval(answer: object) -> MetricEval | None:
    """The answer as a bool and a float, None when it is none; arrays and tensors of one element are taken."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return None
    satisfied, loss = map(only_element, answer)
    if not isinstance(satisfied, (bool, np.bool_)) or not isinstance(loss, (numbers.Real, Decimal)):
        return None
    return None if math.isnan(loss) else (bool(satisfied), float(loss))


def _has_nan(metric: object) -> bool:
    metric = only_element(metric)
    if isinstance(metric, (float, np.floating)):
        return math.isnan(metric)
    if isinstance(metric, np.ndarray):
        return metric.dtype.kind == "f" and bool(np.isnan(metric).any())
    if isinstance(metric, Mapping):
        return any(_has_nan(item) for item in metric.values())
    return isinstance(metric, (tuple, list)) and any(_has_nan(item) for item in metric)


def _said(error: BaseException) -> str:
    if isinstance(error, QirError):
        return str(error)
    return f"raised {type(error).__name__}" + (f": {error}" if str(error) else "")
