"""Runs Caffe nets, and the ONNX models that are made of them, with the calls of pycaffe that samples use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from qir.compat.common.arguments import check_type
from qir.compat.common.errors import CompatRuntimeError, CompatValueError, amct_errors
from qir.compat.common.sessions import amct_so
from qir.frontends.onnx import read_model
from qir.ir.graph import Graph
from qir.models import load
from qir.runtime.calibration_ops import DOMAIN, CalibrationSession
from qir.runtime.session import Session
from qir.runtime.units import Array

TEST = 1
"""pycaffe's number of the phase in which nets run here."""
_IR_VERSION = b"\x08"
"""The first byte of a serialized ONNX model, the tag of its ir_version; no text begins with it."""


class Net:
    """A net in ONNX Runtime, in the test phase.

    `model_file` is a prototxt with its caffemodel, or the ONNX file of a calibration or fake-quant model,
    which needs no `weights_file` (one is ignored). Where a script asks for `X.prototxt` and there is only
    `X.onnx`, it gets that. `phase` is pycaffe's, `TEST`. RuntimeError, a QirError, for files that cannot
    be read or run.
    """

    def __init__(self, model_file: str, weights_file: str | None = None, phase: int = TEST) -> None:
        check_type("model_file", model_file, str)
        check_type("weights_file", weights_file, str, optional=True)
        if phase != TEST:
            raise CompatValueError(
                f"phase must be TEST ({TEST}), not {phase!r}: nets run as they are deployed"
            )
        with amct_errors():
            path = _place(model_file)
            onnx = _is_onnx(path)
            graph = read_model(path) if onnx else load(path, weights=weights_file)
            _check_runs(graph, model_file)
            self._session: Session | CalibrationSession = (
                CalibrationSession(str(path), amct_so()) if DOMAIN in graph.opsets else Session(graph)
            )
        self.inputs: tuple[str, ...] = self._session.inputs
        self.outputs: tuple[str, ...] = self._session.outputs

    def forward(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """The blobs that the net returns, by name, for arrays by the names of its inputs.

        As in Caffe arrays become float32. The batch may have any size, unless a layer of the net computes
        with that of the prototxt. RuntimeError for inputs that do not fit.
        """
        with amct_errors():
            feeds = {name: _float32(name, given) for name, given in inputs.items()}
            return self._session.run(feeds)


def _place(model_file: str) -> Path:
    path = Path(model_file)
    written = path.with_suffix(".onnx")
    return written if path.suffix == ".prototxt" and not path.exists() and written.is_file() else path


def _is_onnx(path: Path) -> bool:
    if not path.is_file():
        return path.suffix == ".onnx"
    with path.open("rb") as file:
        return path.suffix == ".onnx" or file.read(1) == _IR_VERSION


def _check_runs(graph: Graph, model_file: str) -> None:
    if any(node.op == "AscendQuant" for node in graph.nodes):
        raise CompatRuntimeError(
            f"'{model_file}' is a deploy model, which ONNX Runtime cannot run; run the fake-quant model, or "
            "this one in qir.DeploySession"
        )


def _float32(name: str, given: npt.ArrayLike) -> Array:
    try:
        return np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise CompatValueError(f"input '{name}' is no array of numbers: {error}") from error
