"""amct_onnx.accuracy_based_auto_calibration."""

from __future__ import annotations

from qir.backends.files import output_paths
from qir.compat.common.accuracy_search import FILES, AccuracyJob, search_accuracy
from qir.compat.common.arguments import check_strings
from qir.compat.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    AutoCalibrationStrategyBase,
    SensitivityBase,
)
from qir.compat.common.errors import amct_errors
from qir.compat.common.evaluators import AdaptedEvaluator, check_evaluator
from qir.compat.common.outputs import check_distinct


def accuracy_based_auto_calibration(
    model_file: str,
    model_evaluator: AutoCalibrationEvaluatorBase,
    config_file: str,
    record_file: str,
    save_dir: str,
    strategy: str | AutoCalibrationStrategyBase = "BinarySearch",
    sensitivity: str | SensitivityBase = "CosineSimilarity",
) -> None:
    """Find the layers that must stay in float, and write the quantized model that satisfies the evaluator.

    `save_dir` is the prefix of the models, as `save_path` of save_model. Strategies by name are BinarySearch,
    and qir's Greedy and Refine. The evaluator calibrates once, by running the file that it is given in a
    session with AMCT_SO. When only the float model satisfies, no model is left, and a warning is logged.

    Raises AMCT's errors: RuntimeError for objects of a wrong class, ValueError when the original model does
    not satisfy itself.
    """
    files = (config_file, record_file, save_dir)
    check_strings(dict(zip(("model_file", *FILES), (model_file, *files), strict=True)))
    check_evaluator(model_evaluator, AutoCalibrationEvaluatorBase)
    with amct_errors():
        models = (path for path in output_paths(save_dir) if path.suffix == ".onnx")
        check_distinct(model_file, config_file, record_file, *map(str, models))
        evaluator = FileEvaluator(model_evaluator)
        search_accuracy(AccuracyJob.of(model_file, evaluator, files, strategy, sensitivity))


class FileEvaluator(AdaptedEvaluator):
    """The user's evaluator, of which nothing is asked but what AMCT asks."""

    def __init__(self, user: AutoCalibrationEvaluatorBase) -> None:
        super().__init__(user)
        self._user = user

    def calibration(self, model_file: str) -> object:
        """Let the user run a calibration graph."""
        return self._user.calibration(model_file)

    def evaluate(self, model_file: str) -> object:
        """The user's metric."""
        return self._user.evaluate(model_file)
