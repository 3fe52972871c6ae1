"""AMCT's interface for ONNX models: `import qir.compat.amct_onnx as amct` instead of `import amct_onnx`.

    amct.create_quant_config("config.json", "model.onnx", batch_num=2)
    amct.quantize_model("config.json", "model.onnx", "modified.onnx", "record.txt")
    session = onnxruntime.InferenceSession("modified.onnx", amct.AMCT_SO)   # run it batch_num times
    amct.save_model("modified.onnx", "record.txt", "out/model")

Signatures, files, errors and numbers are AMCT's (pipeline `amct`): weight scales to the bit, of inputs the
same IFMR candidate. `AMCT_SO` needs the extra `qir[amct]`. What scripts inherit from is in
`qir.compat.amct_onnx.common.auto_calibration`. What differs:

- an automatic calibration calls the evaluator's `calibration` once, not at every step, and writes no
  activations to disk;
- fake-quant models hold ONNX ops only, so that any session runs them;
- a run keeps up to 512 MB of activations as they are; what goes beyond becomes histograms (a warning names
  the layers, whose scale may then be a neighbouring candidate);
- `MseSensitivity` ranks the layers with the largest error first, where AMCT takes these for the least
  sensitive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qir.compat.amct_onnx.accuracy import accuracy_based_auto_calibration
from qir.compat.amct_onnx.functions import (
    convert_qat_model,
    create_quant_config,
    quantize_model,
    quantize_preprocess,
    save_model,
)
from qir.compat.common.sessions import amct_so

if TYPE_CHECKING:
    import onnxruntime as ort

    AMCT_SO: ort.SessionOptions

__all__ = [
    "AMCT_SO",
    "accuracy_based_auto_calibration",
    "convert_qat_model",
    "create_quant_config",
    "quantize_model",
    "quantize_preprocess",
    "save_model",
]


def __getattr__(name: str) -> object:
    if name == "AMCT_SO":  # it loads onnxruntime-extensions, which only calibration needs
        return amct_so()
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
