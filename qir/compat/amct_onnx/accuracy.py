"""amct_onnx.accuracy_based_auto_calibration (specification A.1, A.7)."""

from __future__ import annotations

import os

from qir.backends.files import output_paths
from qir.compat.common.accuracy_search import AccuracyJob, search_accuracy
from qir.compat.common.arguments import check_type
from qir.compat.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    AutoCalibrationStrategyBase,
    SensitivityBase,
    sensitivity_of,
)
from qir.compat.common.errors import CompatRuntimeError, amct_errors
from qir.compat.common.outputs import check_distinct
from qir.search.strategies import strategy_named


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
    for name, given in (
        ("model_file", model_file),
        ("config_file", config_file),
        ("record_file", record_file),
        ("save_dir", save_dir),
    ):
        check_type(name, given, str)
    if not isinstance(model_evaluator, AutoCalibrationEvaluatorBase):
        raise CompatRuntimeError(
            "the model evaluator is not inherited from base class AutoCalibrationEvaluatorBase: "
            f"it is a {type(model_evaluator).__name__}"
        )
    with amct_errors():
        models = (path for path in output_paths(save_dir) if path.suffix == ".onnx")
        check_distinct(model_file, config_file, record_file, *map(str, models))
        search_accuracy(
            AccuracyJob(  # callbacks may change the working directory
                _absolute(model_file),
                model_evaluator,
                _absolute(config_file),
                _absolute(record_file),
                _absolute(save_dir),
                strategy_named(strategy),
                sensitivity_of(sensitivity),
            )
        )


def _absolute(path: str) -> str:
    """The same place; a prefix that ends in `/` keeps it."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.abspath(folder), name)
