"""The user's evaluator: what it must be, and how one that judges other models becomes one of ONNX files."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from qir.compat.common.errors import CompatRuntimeError
from qir.ir.errors import QirError
from qir.search.errors import EvaluatorError
from qir.search.evaluators import Evaluator
from qir.search.strategies.base import MetricEval

_METHODS = ("evaluate", "metric_eval", "calibration")


class Judge(Protocol):
    """What evaluators of all kinds of models have in common."""

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """(True when the new metric satisfies, what it loses against the original one)."""


@runtime_checkable
class Calibrating(Protocol):
    """What can run a calibration graph."""

    def calibration(self, model_file: str) -> object:
        """Run the graph in `model_file` batch_num times, or more often."""


class AdaptedEvaluator(Evaluator):
    """An evaluator of ONNX files for `user`, who judges something else; subclasses say what it is given."""

    def __init__(self, user: Judge) -> None:
        self.user = user

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """The user's verdict."""
        return self.user.metric_eval(original_metric, new_metric)


def check_evaluator(given: object, base: type) -> None:
    """CompatRuntimeError unless `given` inherits from `base` and overrides all of its methods."""
    name = type(given).__name__
    if not isinstance(given, base):
        raise CompatRuntimeError(
            "the model evaluator is not inherited from base class AutoCalibrationEvaluatorBase: "
            f"it is a {name}"
        )
    for method in _METHODS:
        if getattr(getattr(given, method), "__func__", None) is getattr(base, method):
            raise CompatRuntimeError(f"evaluator {name} has no {method} method")


def run_calibration(evaluator: Calibrating, model_file: str) -> None:
    """Let an evaluator run a calibration graph; EvaluatorError when it raises, or has no such method."""
    user = evaluator.user if isinstance(evaluator, AdaptedEvaluator) else evaluator
    name = type(user).__name__
    try:
        evaluator.calibration(model_file)
    except NotImplementedError as error:
        raise EvaluatorError(f"evaluator {name} has no calibration method") from error
    except QirError:
        raise
    except (Exception, SystemExit) as error:
        raise EvaluatorError(
            f"calibration of evaluator {name} raised {type(error).__name__}: {error}"
        ) from error
