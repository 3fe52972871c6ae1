"""Runs a written model file as a user would: ONNX Runtime opens the path itself, external data included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnxruntime as ort

from qir.ir.errors import ModelError
from qir.runtime.ort_errors import short
from qir.runtime.session import EXACT_INT8


class ModelFile:
    """A model file opened in ONNX Runtime with its default options; ModelError when it cannot be.

    `exact` keeps int8 arithmetic from saturating, see `qir.runtime.session.EXACT_INT8`; `optimize=False`
    runs the nodes as written.
    """

    def __init__(self, path: Path, exact: bool = False, optimize: bool = True) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if exact:
            options.add_session_config_entry(*EXACT_INT8)
        self.exact = exact
        self._path = path
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of ONNX Runtime have no base of their own
            raise ModelError(f"ONNX Runtime cannot load '{path.name}': {short(str(error))}") from error

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name; ModelError when the run fails."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # as above
            reason = short(str(error))
            raise ModelError(f"ONNX Runtime cannot run '{self._path.name}': {reason}") from error
