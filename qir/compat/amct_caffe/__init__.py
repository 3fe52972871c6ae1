"""AMCT's interface for Caffe: `import qir.compat.amct_caffe as amct` instead of `import amct_caffe`.

    amct.create_quant_config("config.json", "net.prototxt", "net.caffemodel", batch_num=2)
    graph = amct.init("config.json", "net.prototxt", "net.caffemodel", "record.txt")
    amct.quantize_model(graph, "modified.prototxt", "modified.caffemodel")
    net = amct.Net("modified.prototxt", "modified.caffemodel", amct.TEST)
    net.forward(data=batch)                                          # batch_num times
    amct.save_model(graph, "Both", "out/net")

Caffe comes in, ONNX goes out: there is no maintained Caffe to run a net in, so `Net` runs the user's files
and what is made of them in ONNX Runtime. It stands in for pycaffe's with `net.forward(**arrays)`: a script's
`import caffe` becomes `import qir.compat.amct_caffe as caffe`. What quantize_model writes is one ONNX file,
whatever its name is; there is no weights file beside it. Models are `<prefix>_fake_quant_model.onnx` and
`…_deploy_model.onnx`. Evaluators of `accuracy_based_auto_calibration` get the prototxt and caffemodel for the
net as it is, and twice the ONNX file for other models. Rows of SSD's DetectionOutput are ordered as in Caffe:
by label, then by score. Signatures, other files, errors and numbers are AMCT's (pipeline `amct-caffe`).
Calibration needs the extra `qir[amct]`.
"""

from qir.compat.amct_caffe.accuracy import accuracy_based_auto_calibration
from qir.compat.amct_caffe.functions import (
    convert_model,
    create_quant_config,
    init,
    quantize_model,
    save_model,
    set_cpu_mode,
    set_device,
    set_gpu_mode,
    set_mode_cpu,
    set_mode_gpu,
)
from qir.compat.amct_caffe.net import TEST, Net

__all__ = [
    "TEST",
    "Net",
    "accuracy_based_auto_calibration",
    "convert_model",
    "create_quant_config",
    "init",
    "quantize_model",
    "save_model",
    "set_cpu_mode",
    "set_device",
    "set_gpu_mode",
    "set_mode_cpu",
    "set_mode_gpu",
]
