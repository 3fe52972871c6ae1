# Accuracy-based automatic quantization, in the steps of the MobileNet sample of AMCT's manual.
import argparse
import os

import amct_onnx as amct
import numpy as np
import onnxruntime as ort
from amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase

PARSER = argparse.ArgumentParser()
PARSER.add_argument("--model", required=True)
PARSER.add_argument("--calibration", required=True)
PARSER.add_argument("--test", required=True)
PARSER.add_argument("--loss", type=float, required=True)
ARGS = PARSER.parse_args()
OUTPUTS = os.path.join(os.path.realpath("./"), "outputs/accuracy_based_auto_calibration")


class ModelEvaluator(AutoCalibrationEvaluatorBase):
    """The evaluator for the model"""

    def __init__(self, calibration, test, batch_num, expected_acc_loss):
        super().__init__()
        self.calibration_images = np.load(calibration)["input"]
        self.test = np.load(test)
        self.batch_num = batch_num
        self.diff = expected_acc_loss

    def calibration(self, model_file):
        session = ort.InferenceSession(model_file, amct.AMCT_SO)
        for i in range(self.batch_num):
            session.run(None, {"input": self.calibration_images[i * 16 : (i + 1) * 16]})

    def evaluate(self, model_file):
        session = ort.InferenceSession(model_file, amct.AMCT_SO)
        logits = session.run(None, {"input": self.test["input"][:200]})[0]
        logits -= logits.max(axis=1, keepdims=True)
        likelihood = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(likelihood[np.arange(200), self.test["labels"][:200]].mean())

    def metric_eval(self, original_metric, new_metric):
        loss = abs(original_metric - new_metric)
        if loss <= self.diff:
            return True, loss
        return False, loss


def main():
    os.makedirs(OUTPUTS, exist_ok=True)
    config_file = os.path.join(OUTPUTS, "config.json")
    amct.create_quant_config(config_file=config_file, model_file=ARGS.model, batch_num=2)
    evaluator = ModelEvaluator(ARGS.calibration, ARGS.test, 2, ARGS.loss)
    amct.accuracy_based_auto_calibration(
        model_file=ARGS.model,
        model_evaluator=evaluator,
        config_file=config_file,
        record_file=os.path.join(OUTPUTS, "scale_offset_record.txt"),
        save_dir=os.path.join(OUTPUTS, "digits"),
        strategy="BinarySearch",
        sensitivity="CosineSimilarity",
    )


if __name__ == "__main__":
    main()
