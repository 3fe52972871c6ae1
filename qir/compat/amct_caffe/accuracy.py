"""amct_caffe.accuracy_based_auto_calibration (specification A.4, A.7)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from qir.backends.files import output_paths
from qir.compat.amct_caffe.evaluator import AutoCalibrationEvaluatorBase, PairEvaluator
from qir.compat.amct_caffe.functions import PIPELINE
from qir.compat.common.accuracy_search import AccuracyJob, search_accuracy
from qir.compat.common.arguments import check_type
from qir.compat.common.auto_calibration import (
    AutoCalibrationStrategyBase,
    SensitivityBase,
    sensitivity_of,
)
from qir.compat.common.errors import CompatRuntimeError, amct_errors
from qir.compat.common.outputs import check_distinct
from qir.models import load, save
from qir.search.strategies import strategy_named


def accuracy_based_auto_calibration(
    model_file: str,
    weights_file: str,
    model_evaluator: AutoCalibrationEvaluatorBase,
    config_file: str,
    record_file: str,
    save_dir: str,
    strategy: str | AutoCalibrationStrategyBase = "BinarySearch",
    sensitivity: str | SensitivityBase = "CosineSimilarity",
) -> None:
    """Find the layers that must stay in float, and write the quantized model that satisfies the evaluator.

    The evaluator's callbacks get the prototxt and the caffemodel for the net as it is, an ONNX file and None
    for the calibration model (once) and fake-quant models. The rest is as in amct_onnx, errors too.
    """
    for name, given in (
        ("model_file", model_file),
        ("weights_file", weights_file),
        ("config_file", config_file),
        ("record_file", record_file),
        ("save_dir", save_dir),
    ):
        check_type(name, given, str)
    _check_evaluator(model_evaluator)
    with amct_errors(), tempfile.TemporaryDirectory(prefix="qir-amct-") as folder:
        models = [str(path) for path in output_paths(save_dir) if path.suffix == ".onnx"]
        for source in (model_file, weights_file):
            check_distinct(source, config_file, record_file, *models)
        original = str(Path(folder, "original_model.onnx"))
        save(load(model_file, weights=weights_file), original)
        search_accuracy(
            AccuracyJob(  # callbacks may change the working directory
                original,
                PairEvaluator(model_evaluator, original, (_absolute(model_file), _absolute(weights_file))),
                _absolute(config_file),
                _absolute(record_file),
                _absolute(save_dir),
                strategy_named(strategy),
                sensitivity_of(sensitivity),
                PIPELINE,
            )
        )


def _check_evaluator(given: object) -> None:
    name = type(given).__name__
    if not isinstance(given, AutoCalibrationEvaluatorBase):
        raise CompatRuntimeError(
            "the model evaluator is not inherited from base class AutoCalibrationEvaluatorBase: "
            f"it is a {name}"
        )
    for method in ("calibration", "evaluate", "metric_eval"):
        own = getattr(getattr(given, method), "__func__", None)
        if own is getattr(AutoCalibrationEvaluatorBase, method):
            raise CompatRuntimeError(f"evaluator {name} has no {method} method")


def _absolute(path: str) -> str:
    """The same place; a prefix that ends in `/` keeps it."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.abspath(folder), name)
