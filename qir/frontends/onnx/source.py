"""Reads an ONNX model from a file, bytes or protobuf; whatever is not a model gives one clear error."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from qir.frontends.onnx.external import ExternalData
from qir.frontends.onnx.reader import build_graph
from qir.frontends.onnx.strings import check_strings
from qir.ir.errors import ModelError
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph

_OLDEST_IR = 3
_OLDEST_OPSET = 7
_log = logging.getLogger(__name__)


def read_model(source: str | Path | bytes | onnx.ModelProto, *, folder: str | Path | None = None) -> Graph:
    """The graph of an ONNX model, given as a path, as the bytes of a file, or as protobuf (left unchanged).

    External data are memory-mapped from the model's folder; `folder` names it where the source is not a path.
    Model-local functions are inlined. Raises ModelError for whatever is not a valid model.
    """
    home = None if folder is None else Path(folder)
    if isinstance(source, onnx.ModelProto):
        model, origin = source, "the model"
    elif isinstance(source, bytes):
        model, origin = _parse(source, "the model"), "the model"
    elif not isinstance(source, (str, Path)):
        kind = type(source).__name__
        raise ModelError(f"a model is a path, the bytes of a file or an onnx.ModelProto, not a {kind}")
    else:
        path = Path(source)
        home, origin = home or path.parent, f"'{path}'"
        model = _parse(_read(path), origin)
    with collector_paused():
        _check(model, origin)
        return build_graph(model, ExternalData(home))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"model file '{path}' does not exist") from None
    except IsADirectoryError:
        raise ModelError(f"'{path}' is a folder; name the .onnx file in it") from None
    except OSError as error:
        raise ModelError(f"model file '{path}' cannot be read: {error.strerror}") from None


def _parse(data: bytes, origin: str) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{origin} is empty, not an ONNX model")
    try:
        model = onnx.ModelProto()
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{origin} is not an ONNX model, or is damaged (truncated?)") from None
    return model


def _check(model: onnx.ModelProto, origin: str) -> None:
    """The fields without which a message of bytes is not a model."""
    if not model.HasField("graph") or not model.ir_version:
        raise ModelError(f"{origin} is not an ONNX model, or is truncated: it has no graph")
    check_strings(model, origin)
    if model.ir_version < _OLDEST_IR:
        raise ModelError(
            f"{origin} has IR version {model.ir_version}, older than {_OLDEST_IR}; export the model again"
        )
    if not model.opset_import:
        raise ModelError(f"{origin} imports no operator set; the file is truncated or not an ONNX model")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < _OLDEST_OPSET:
        _log.warning("%s uses opset %d; qir knows opsets from %d on", origin, opset, _OLDEST_OPSET)
