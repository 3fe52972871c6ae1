"""amct_caffe.accuracy_based_auto_calibration."""

from __future__ import annotations

import tempfile
from pathlib import Path

from qir.backends.files import output_paths
from qir.compat.amct_caffe.evaluator import AutoCalibrationEvaluatorBase, PairEvaluator
from qir.compat.amct_caffe.functions import PIPELINE
from qir.compat.common.accuracy_search import FILES, AccuracyJob, search_accuracy
from qir.compat.common.arguments import check_strings
from qir.compat.common.auto_calibration import AutoCalibrationStrategyBase, SensitivityBase
from qir.compat.common.errors import amct_errors
from qir.compat.common.evaluators import check_evaluator
from qir.compat.common.outputs import absolute, check_distinct
from qir.models import load, save


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

    The evaluator's callbacks get the prototxt and the caffemodel for the net as it is, twice the ONNX
    file for the calibration model (once) and fake-quant models. The rest is as in amct_onnx, errors too.
    """
    sources, files = (model_file, weights_file), (config_file, record_file, save_dir)
    names = ("model_file", "weights_file", *FILES)
    check_strings(dict(zip(names, (*sources, *files), strict=True)))
    check_evaluator(model_evaluator, AutoCalibrationEvaluatorBase)
    with amct_errors(), tempfile.TemporaryDirectory(prefix="qir-amct-") as folder:
        models = [str(path) for path in output_paths(save_dir) if path.suffix == ".onnx"]
        for source in sources:
            check_distinct(source, config_file, record_file, *models)
        original = str(Path(folder, "original_model.onnx"))
        save(load(model_file, weights=weights_file), original)
        evaluator = PairEvaluator(model_evaluator, original, (absolute(model_file), absolute(weights_file)))
        search_accuracy(AccuracyJob.of(original, evaluator, files, strategy, sensitivity, PIPELINE))
