# Accuracy-based automatic quantization of a Caffe model, in the steps of AMCT's MobileNetV2 sample.
import os
import sys

import amct_caffe as amct
import caffe
import numpy as np
from amct_caffe.common.auto_calibration import AutoCalibrationEvaluatorBase

MODEL_FILE, WEIGHTS_FILE, CALIBRATION_DATA, TEST_DATA, TARGET_LOSS = sys.argv[1:6]
PATH = os.path.realpath("./")
TMP = os.path.join(PATH, "tmp")
RESULT = os.path.join(PATH, "results")
BATCH_SIZE = 16


def run_caffe_model(model_file, weights_file, images):
    model_file = os.path.realpath(model_file)
    weights_file = os.path.realpath(weights_file)
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    found = []
    for start in range(0, len(images), BATCH_SIZE):
        forward_kwargs = {"data": images[start : start + BATCH_SIZE]}
        blobs_out = net.forward(**forward_kwargs)
        found.append(blobs_out["prob"])
    return np.concatenate(found)


class AutoCalibrationEvaluator(AutoCalibrationEvaluatorBase):
    """auto calibration evaluator"""

    def __init__(self, target_loss, batch_num):
        self.target_loss = target_loss
        self.batch_num = batch_num
        super().__init__()

    def calibration(self, model_file, weights_file):
        images = np.load(CALIBRATION_DATA)["input"]
        run_caffe_model(model_file, weights_file, images[: self.batch_num * BATCH_SIZE])

    def evaluate(self, model_file, weights_file):
        test = np.load(TEST_DATA)
        probabilities = run_caffe_model(model_file, weights_file, test["input"][:192])
        return float(np.log(probabilities[np.arange(192), test["labels"][:192]]).mean())

    def metric_eval(self, original_metric, new_metric):
        loss = abs(original_metric - new_metric)
        if loss <= self.target_loss:
            return True, loss
        return False, loss


def main():
    caffe.set_mode_gpu()
    caffe.set_device(0)
    amct.set_gpu_mode()
    # step 1: create the quant config file
    config_json_file = "./config.json"
    skip_layers = []
    batch_num = 2
    activation_offset = True
    amct.create_quant_config(
        config_json_file, MODEL_FILE, WEIGHTS_FILE, skip_layers, batch_num, activation_offset
    )

    scale_offset_record_file = os.path.join(TMP, "scale_offset_record.txt")
    result_path = os.path.join(RESULT, "digits")
    evaluator = AutoCalibrationEvaluator(target_loss=float(TARGET_LOSS), batch_num=batch_num)

    # step 2: start the accuracy_based_auto_calibration process
    amct.accuracy_based_auto_calibration(
        MODEL_FILE, WEIGHTS_FILE, evaluator, config_json_file, scale_offset_record_file, result_path
    )


if __name__ == "__main__":
    main()
