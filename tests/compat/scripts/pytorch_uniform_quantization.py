# Uniform quantization of a PyTorch model, in the steps of the ResNet sample of AMCT's manual.
import os
import sys

import amct_pytorch as amct
import numpy as np
import onnxruntime as ort
import torch
from digits import Digits

WEIGHTS, CALIBRATION_DATA, TEST_DATA = sys.argv[1:4]
OUTPUTS = os.path.join(os.path.realpath("./"), "outputs/calibration")
TMP = os.path.join(OUTPUTS, "tmp")


def model_forward(model, images, batch_size, iterations):
    with torch.no_grad():
        for i in range(iterations):
            model(torch.from_numpy(images[i * batch_size : (i + 1) * batch_size]))


def accuracy(scores, labels):
    return float((scores.argmax(axis=1) == labels).mean())


def main():
    os.makedirs(TMP, exist_ok=True)
    model = Digits()
    model.load_state_dict(torch.load(WEIGHTS))
    model.eval()
    test = np.load(TEST_DATA)
    with torch.no_grad():
        before = accuracy(model(torch.from_numpy(test["input"])).numpy(), test["labels"])

    # Phase 0: the configuration
    input_data = (torch.randn(1, 1, 16, 16),)
    config_json_file = os.path.join(TMP, "config.json")
    skip_layers = []
    batch_num = 2
    amct.create_quant_config(config_json_file, model, input_data, skip_layers, batch_num)

    # Phase 1: fuse, quantize weights, and calibrate
    record_file = os.path.join(TMP, "record.txt")
    modified_model = os.path.join(TMP, "modified_model.onnx")
    calibration_model = amct.quantize_model(
        config_json_file,
        modified_model,
        record_file,
        model,
        input_data,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
    )
    model_forward(calibration_model, np.load(CALIBRATION_DATA)["input"], 16, batch_num)

    # Phase 2: one model to test the accuracy with, one to deploy
    quantized_model_path = os.path.join(OUTPUTS, "digits")
    amct.save_model(modified_model, record_file, quantized_model_path)

    # Phase 3: test
    session = ort.InferenceSession(quantized_model_path + "_fake_quant_model.onnx")
    after = accuracy(session.run(None, {"input": test["input"]})[0], test["labels"])
    print(f"before quantize {before:.4f} after quantize {after:.4f}")


if __name__ == "__main__":
    main()
