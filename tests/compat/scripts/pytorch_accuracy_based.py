# Accuracy-based automatic quantization of a PyTorch model, in the steps of the sample of AMCT's manual.
import os
import sys

import amct_pytorch as amct
import numpy as np
import torch
from amct_pytorch.common.auto_calibration import AutoCalibrationEvaluatorBase
from digits import Digits

WEIGHTS, CALIBRATION_DATA, TEST_DATA, LOSS = sys.argv[1:5]
OUTPUTS = os.path.join(os.path.realpath("./"), "outputs/accuracy_based_auto_calibration")


class ModelEvaluator(AutoCalibrationEvaluatorBase):
    """Evaluator for model"""

    def __init__(self, batch_num, expected_loss):
        self.batch_num = batch_num
        self.expected_loss = expected_loss
        self.images = torch.from_numpy(np.load(CALIBRATION_DATA)["input"])
        test = np.load(TEST_DATA)
        self.test, self.labels = torch.from_numpy(test["input"]), torch.from_numpy(test["labels"]).long()

    def calibration(self, model):
        model.eval()
        with torch.no_grad():
            for i in range(self.batch_num):
                model(self.images[i * 16 : (i + 1) * 16])

    def evaluate(self, model):
        model.eval()
        with torch.no_grad():
            return -torch.nn.functional.cross_entropy(model(self.test), self.labels).item()

    def metric_eval(self, original_metric, new_metric):
        loss = abs(original_metric - new_metric)
        return loss <= self.expected_loss, loss


def main():
    os.makedirs(OUTPUTS, exist_ok=True)
    model = Digits()
    model.load_state_dict(torch.load(WEIGHTS))
    model.eval()
    input_data = (torch.randn(1, 1, 16, 16),)
    config_file = os.path.join(OUTPUTS, "config.json")
    amct.create_quant_config(config_file=config_file, model=model, input_data=input_data, batch_num=2)
    amct.accuracy_based_auto_calibration(
        model=model,
        model_evaluator=ModelEvaluator(2, float(LOSS)),
        config_file=config_file,
        record_file=os.path.join(OUTPUTS, "scale_offset_record.txt"),
        save_dir=os.path.join(OUTPUTS, "digits"),
        input_data=input_data,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        strategy="BinarySearch",
        sensitivity="CosineSimilarity",
    )


if __name__ == "__main__":
    main()
