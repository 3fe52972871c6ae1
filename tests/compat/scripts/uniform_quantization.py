# Uniform quantization by hand, in the steps of the ResNet sample of AMCT's manual.
import os
import sys

import amct_onnx as amct
import numpy as np
import onnxruntime as ort

MODEL_FILE, CALIBRATION_DATA, TEST_DATA = sys.argv[1:4]
PATH = os.path.realpath("./")
OUTPUTS = os.path.join(PATH, "outputs/calibration")
TMP = os.path.join(OUTPUTS, "tmp")


def onnx_forward(onnx_model, data_file, batch_size=1, iterations=160):
    ort_session = ort.InferenceSession(onnx_model, amct.AMCT_SO)
    data = np.load(data_file)
    correct = total = 0
    for i in range(min(iterations, len(data["input"]) // batch_size)):
        batch = slice(i * batch_size, (i + 1) * batch_size)
        output = ort_session.run(None, {"input": data["input"][batch]})
        if "labels" in data:
            correct += int((output[0].argmax(axis=1) == data["labels"][batch]).sum())
            total += batch_size
    return correct / max(total, 1)


def main():
    os.makedirs(TMP, exist_ok=True)
    before = onnx_forward(MODEL_FILE, TEST_DATA, batch_size=100)

    config_json_file = os.path.join(TMP, "config.json")
    skip_layers = []
    batch_num = 2
    amct.create_quant_config(
        config_file=config_json_file,
        model_file=MODEL_FILE,
        skip_layers=skip_layers,
        batch_num=batch_num,
        activation_offset=True,
        config_defination=None,
    )

    # Phase 1: fuse, quantize weights, insert the calibration ops
    scale_offset_record_file = os.path.join(TMP, "record.txt")
    modified_model = os.path.join(TMP, "modified_model.onnx")
    amct.quantize_model(
        config_file=config_json_file,
        model_file=MODEL_FILE,
        modified_onnx_file=modified_model,
        record_file=scale_offset_record_file,
    )
    onnx_forward(modified_model, CALIBRATION_DATA, batch_size=16, iterations=batch_num)

    # Phase 2: one model to test the accuracy with, one to deploy
    result_path = os.path.join(OUTPUTS, "digits")
    amct.save_model(modified_model, scale_offset_record_file, result_path)

    # Phase 3: test
    after = onnx_forward(result_path + "_fake_quant_model.onnx", TEST_DATA, batch_size=100)
    print(f"before quantize {before:.4f} after quantize {after:.4f}")


if __name__ == "__main__":
    main()
