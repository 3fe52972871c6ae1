# A model from quantization-aware training becomes an Ascend model.
import os
import sys

import amct_onnx as amct
import numpy as np
import onnxruntime as ort

MODEL_FILE, DATA = sys.argv[1:3]
OUTPUTS = os.path.join(os.path.realpath("./"), "outputs/convert_qat")


def main():
    image = np.load(DATA)["input"]
    original = ort.InferenceSession(MODEL_FILE, amct.AMCT_SO).run(None, {"input": image})[0]
    record_path = os.path.join(OUTPUTS, "record.txt")
    amct.convert_qat_model(
        model_file=MODEL_FILE, save_path=os.path.join(OUTPUTS, "net"), record_file=record_path
    )
    fake_quant_model = os.path.join(OUTPUTS, "net_fake_quant_model.onnx")
    converted = ort.InferenceSession(fake_quant_model, amct.AMCT_SO).run(None, {"input": image})[0]
    print("difference", float(np.abs(converted - original).max() / np.ptp(original)))


if __name__ == "__main__":
    main()
