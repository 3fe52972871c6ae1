"""amct_pytorch.accuracy_based_auto_calibration: the evaluator gets modules."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from qir.compat.amct_pytorch.calibrating import watching_module
from qir.compat.amct_pytorch.exporting import exported
from qir.compat.amct_pytorch.functions import MODEL_FILES
from qir.compat.amct_pytorch.modules import fake_quant_module
from qir.compat.common.accuracy_search import FILES, AccuracyJob, search_accuracy
from qir.compat.common.arguments import check_strings, check_type
from qir.compat.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    AutoCalibrationStrategyBase,
    SensitivityBase,
)
from qir.compat.common.errors import amct_errors
from qir.compat.common.evaluators import AdaptedEvaluator, check_evaluator
from qir.compat.common.outputs import check_distinct
from qir.frontends.torch import DynamicAxes, Example
from qir.ir.graph import Graph
from qir.models import load, save


def accuracy_based_auto_calibration(
    model: nn.Module,
    model_evaluator: AutoCalibrationEvaluatorBase,
    config_file: str,
    record_file: str,
    save_dir: str,
    input_data: Example,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
    strategy: str | AutoCalibrationStrategyBase = "BinarySearch",
    sensitivity: str | SensitivityBase = "CosineSimilarity",
) -> None:
    """Find the layers that must stay in float, and write the quantized model that satisfies the evaluator.

    The evaluator's callbacks get modules: copies of `model`, one to run on calibration data (once), others to
    measure, of which the quantized ones compute as the fake-quant ONNX models do. The rest is as in
    amct_onnx, errors too.
    """
    files = (config_file, record_file, save_dir)
    check_strings(dict(zip(FILES, files, strict=True)))
    check_type("model", model, nn.Module)
    check_evaluator(model_evaluator, AutoCalibrationEvaluatorBase)
    with amct_errors(), tempfile.TemporaryDirectory(prefix="qir-amct-") as folder:
        check_distinct(config_file, record_file)
        graph = exported(model, input_data, input_names, output_names, dynamic_axes)
        original = str(Path(folder, "original_model.onnx"))
        save(graph, original)
        evaluator = ModuleEvaluator(model_evaluator, model, graph, original)
        job = AccuracyJob.of(original, evaluator, files, strategy, sensitivity, kinds=MODEL_FILES)
        search_accuracy(job)


class ModuleEvaluator(AdaptedEvaluator):
    """The user's evaluator of modules, for a search that has files."""

    def __init__(
        self, user: AutoCalibrationEvaluatorBase, model: nn.Module, graph: Graph, original: str
    ) -> None:
        super().__init__(user)
        self._user, self._model, self._graph, self._original = user, model, graph, original

    def calibration(self, model_file: str) -> object:
        """Let the user run the calibration module of a calibration graph."""
        return self._user.calibration(watching_module(self._model, self._graph, load(model_file)))

    def evaluate(self, model_file: str) -> object:
        """The user's metric of the module that computes as the model in the file."""
        if model_file == self._original:
            return self._user.evaluate(copy.deepcopy(self._model))
        return self._user.evaluate(fake_quant_module(self._model, self._graph, load(model_file)))
