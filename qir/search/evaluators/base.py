"""What an evaluator is: it measures a model file and says whether the loss is acceptable, as AMCT's does."""

from __future__ import annotations

from qir.search.evaluators.source import object_digest
from qir.search.strategies.base import MetricEval


class Evaluator:
    """The user's judgement of a model. A subclass overrides `evaluate` and `metric_eval`, AMCT's also
    `calibration`; a metric may be any object.

    `evaluate` is to give the same metric for the same model: the search does not ask twice.
    """

    def calibration(self, model_file: str) -> object:
        """Run the calibration model in `model_file` on at least as many batches as were asked for.

        Called where calibration data come from the evaluator (AMCT's scripts); the result is not used.
        """
        raise NotImplementedError

    def evaluate(self, model_file: str) -> object:
        """The metric of the model in `model_file`: the original one or a fake-quant one."""
        raise NotImplementedError

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """(True when the new metric satisfies, what it loses against the original one)."""
        raise NotImplementedError

    def prepare(self, model_file: str) -> None:
        """Told the original model once, before anything is evaluated; also when a search goes on."""

    def modules(self) -> frozenset[str]:
        """The modules whose classes its metrics may be of, beside plain values and numpy's."""
        return frozenset({type(self).__module__})

    def fingerprint(self) -> str:
        """A digest of everything that its metrics depend on; another one makes old results not count.

        Here: of the source file of the class, and of the object's attributes. Files that it reads are not
        part of it.
        """
        return object_digest(self)


def overrides(evaluator: Evaluator, method: str) -> bool:
    """True when the evaluator's class has its own `method`."""
    return getattr(type(evaluator), method) is not getattr(Evaluator, method)
