"""The evaluator of scripts for amct_caffe: its callbacks get two files."""

from __future__ import annotations

from qir.compat.common.evaluators import AdaptedEvaluator
from qir.search.strategies.base import MetricEval


class AutoCalibrationEvaluatorBase:
    """The user's judgement of a net. A subclass overrides all three methods; a metric may be any object.

    `weights_file` is the caffemodel of the original net; other models are ONNX files that hold their weights,
    and are both files. `amct_caffe.Net(model_file, weights_file)` runs either.
    """

    def calibration(self, model_file: str, weights_file: str) -> object:
        """Run the calibration model on at least batch_num batches; the result is not used."""
        raise NotImplementedError

    def evaluate(self, model_file: str, weights_file: str) -> object:
        """The metric of the original net, or of a fake-quant model."""
        raise NotImplementedError

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        """(True when the new metric satisfies, what it loses against the original one)."""
        raise NotImplementedError


class PairEvaluator(AdaptedEvaluator):
    """The user's evaluator of two files, for a search that knows one: `onnx_file` is the net's."""

    def __init__(self, user: AutoCalibrationEvaluatorBase, onnx_file: str, net: tuple[str, str]) -> None:
        super().__init__(user)
        self._user, self._onnx_file, self._net = user, onnx_file, net

    def calibration(self, model_file: str) -> object:
        """Let the user run a calibration model."""
        return self._user.calibration(model_file, model_file)

    def evaluate(self, model_file: str) -> object:
        """The user's metric of the net, or of a fake-quant model."""
        if model_file == self._onnx_file:
            return self._user.evaluate(*self._net)
        return self._user.evaluate(model_file, model_file)
