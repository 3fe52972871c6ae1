# Uniform quantization with a simplified configuration file, by positional arguments.
import os
import sys

import amct_onnx as amct
import numpy as np
import onnxruntime as ort

MODEL_FILE, CALIBRATION_DATA = sys.argv[1:3]
CFG = """
batch_num : 2
activation_offset : true
skip_layers : "/f2/Gemm"
common_config : {
    arq_quantize : { channel_wise : true }
    ifmr_quantize : { search_range_start : 0.7 search_range_end : 1.3 search_step : 0.01 }
}
override_layer_types : {
    layer_type : "Gemm"
    calibration_config : {
        arq_quantize : { channel_wise : false }
        hfmg_quantize : { num_of_bins : 1024 }
    }
}
override_layer_configs : {
    layer_name : "/c/c.0/Conv"
    calibration_config : { arq_quantize : { channel_wise : false } }
}
"""


def main():
    with open("quant.cfg", "w") as cfg:
        cfg.write(CFG)
    amct.create_quant_config(
        "./config.json", MODEL_FILE, config_defination="./quant.cfg", updated_model="./updated.onnx"
    )
    amct.quantize_model("./config.json", "./updated.onnx", "./modified_model.onnx", "./record.txt")
    session = ort.InferenceSession("./modified_model.onnx", amct.AMCT_SO)
    images = np.load(CALIBRATION_DATA)["input"]
    for i in range(2):
        session.run(
            [session.get_outputs()[0].name], {session.get_inputs()[0].name: images[i * 8 : i * 8 + 8]}
        )
    amct.save_model(modfied_onnx_file="./modified_model.onnx", record_file="./record.txt", save_path="./out/")
    assert os.path.exists("./out/deploy_model.onnx")


main()
