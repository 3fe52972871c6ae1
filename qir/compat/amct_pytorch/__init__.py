"""AMCT's interface for PyTorch: `import qir.compat.amct_pytorch as amct` instead of `import amct_pytorch`.

    amct.create_quant_config("config.json", model, input_data, batch_num=2)
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, input_data)
    calibration(batch)                                                          # batch_num times
    amct.save_model("modified.onnx", "record.txt", "out/model")

Signatures, files, errors and numbers are AMCT's (pipeline `amct`). Needs the extra `qir[torch]`. Evaluators
of `accuracy_based_auto_calibration` get modules, and those of quantized models compute as the fake-quant ONNX
file does. What AMCT leaves in float stays in float and is logged: modules that run several times or share a
weight, functional layers, LSTM and GRU.
"""

from qir.compat.amct_pytorch.accuracy import accuracy_based_auto_calibration
from qir.compat.amct_pytorch.functions import (
    create_quant_config,
    quantize_model,
    quantize_preprocess,
    save_model,
)

__all__ = [
    "accuracy_based_auto_calibration",
    "create_quant_config",
    "quantize_model",
    "quantize_preprocess",
    "save_model",
]
