# Accuracy-based automatic quantization with a strategy of the user's own, as such strategies are written.
import collections
import copy
import sys

import amct_onnx as amct
import numpy as np
import onnxruntime as ort
from amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase
from amct_onnx.common.auto_calibration.auto_calibration_strategy_base import AutoCalibrationStrategyBase
from amct_onnx.common.auto_calibration.sensitivity_base import SensitivityBase

MODEL_FILE, CALIBRATION_DATA, TARGET_LOSS = sys.argv[1:4]


class IncrementalStrategy(AutoCalibrationStrategyBase):
    """From the most sensitive layer on, two more layers at a time."""

    def __init__(self, step=2):
        super().__init__()
        self.step = step
        self.count = 0
        self.flags = collections.OrderedDict()

    def initialize(self, ranking_info):
        self.flags = collections.OrderedDict(
            (name, True) for name in sorted(ranking_info, key=ranking_info.get)
        )

    def update_quant_config(self, metric_eval):
        satisfied, _ = metric_eval
        if satisfied:
            self.last_acc_result = copy.deepcopy(self.result)
            self.last_acc_result["stop_flag"] = True
            return self.last_acc_result
        for name in list(self.flags)[self.count : self.count + self.step]:
            self.flags[name] = False
        self.count += self.step
        self.result["stop_flag"] = False
        self.result["roll_back_config"] = self.flags  # one dict for all proposals, which changes
        return self.result


class MaxDifference(SensitivityBase):
    def compare(self, data, other):
        return -np.abs(data - other).max()


class Evaluator(AutoCalibrationEvaluatorBase):
    def calibration(self, model_file):
        self._run(model_file)

    def evaluate(self, model_file):
        return np.array([self._run(model_file).std()], np.float64)

    def metric_eval(self, original_metric, new_metric):
        loss = abs(original_metric - new_metric)
        return loss <= float(TARGET_LOSS), loss  # arrays of one element

    def _run(self, model_file):
        session = ort.InferenceSession(
            model_file, sess_options=amct.AMCT_SO, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        images = np.load(CALIBRATION_DATA)["input"]
        return np.concatenate([session.run(None, {name: images[i : i + 16]})[0] for i in (0, 16)])


amct.create_quant_config("config.json", MODEL_FILE, batch_num=2)
amct.accuracy_based_auto_calibration(
    MODEL_FILE,
    Evaluator(),
    "config.json",
    "record.txt",
    "out/net",
    IncrementalStrategy(),
    MaxDifference(),
)
