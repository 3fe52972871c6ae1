# Uniform quantization of a Caffe model, in the steps of the mnist sample of AMCT's manual.
import os
import sys

import amct_caffe as amct
import caffe
import numpy as np

MODEL_FILE, WEIGHTS_FILE, CALIBRATION_DATA, TEST_DATA = sys.argv[1:5]
PATH = os.path.realpath("./")
TMP = os.path.join(PATH, "tmp")
RESULT = os.path.join(PATH, "results")
BATCH_SIZE = 16


def do_benchmark_test(model_file, weights_file, data_file, iterations):
    model_file = os.path.realpath(model_file)
    weights_file = os.path.realpath(weights_file)
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    data = np.load(data_file)
    top1_total = 0
    for index in range(iterations):
        batch = slice(index * BATCH_SIZE, (index + 1) * BATCH_SIZE)
        forward_kwargs = {"data": data["input"][batch]}
        blobs_out = net.forward(**forward_kwargs)
        if "labels" in data:
            top1_total += float((blobs_out["prob"].argmax(axis=1) == data["labels"][batch]).mean())
    return top1_total / iterations


def main():
    caffe.set_mode_cpu()
    amct.set_cpu_mode()
    before = do_benchmark_test(MODEL_FILE, WEIGHTS_FILE, TEST_DATA, 30)

    # Quantize configurations
    config_json_file = os.path.join(TMP, "config.json")
    skip_layers = []
    batch_num = 2
    amct.create_quant_config(config_json_file, MODEL_FILE, WEIGHTS_FILE, skip_layers, batch_num)

    # Phase 0: init
    scale_offset_record_file = os.path.join(TMP, "record.txt")
    graph = amct.init(config_json_file, MODEL_FILE, WEIGHTS_FILE, scale_offset_record_file)

    # Phase 1: fuse, quantize weights, insert the calibration layers
    modified_model_file = os.path.join(TMP, "modified_model.prototxt")
    modified_weights_file = os.path.join(TMP, "modified_model.caffemodel")
    amct.quantize_model(graph, modified_model_file, modified_weights_file)

    # Phase 2: calibrate
    do_benchmark_test(modified_model_file, modified_weights_file, CALIBRATION_DATA, batch_num)

    # Phase 3: one model to test the accuracy with, one to deploy
    result_path = os.path.join(RESULT, "digits")
    amct.save_model(graph, "Both", result_path)

    # Phase 4: test
    fake_quant_model = os.path.join(RESULT, "digits_fake_quant_model.prototxt")
    fake_quant_weights = os.path.join(RESULT, "digits_fake_quant_weights.caffemodel")
    after = do_benchmark_test(fake_quant_model, fake_quant_weights, TEST_DATA, 30)
    print(f"top1 before quantize is {before:.4f}, after quantize is {after:.4f}")


if __name__ == "__main__":
    main()
