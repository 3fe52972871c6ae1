"""The ONNX door: models come in as graphs and go out as files, unchanged in meaning."""

from qir.frontends.onnx.detached import to_detached_model
from qir.frontends.onnx.files import (
    check_writable,
    data_beside,
    model_files,
    save_model,
    saved_files,
)
from qir.frontends.onnx.infer import infer_types
from qir.frontends.onnx.known_ops import op_types, unknown_ops
from qir.frontends.onnx.source import read_model
from qir.frontends.onnx.writer import EXTERNAL_BYTES, constant_bytes, to_model
from qir.frontends.onnx.written import WrittenNodes

__all__ = [
    "EXTERNAL_BYTES",
    "WrittenNodes",
    "check_writable",
    "constant_bytes",
    "data_beside",
    "infer_types",
    "model_files",
    "op_types",
    "read_model",
    "save_model",
    "saved_files",
    "to_detached_model",
    "to_model",
    "unknown_ops",
]
