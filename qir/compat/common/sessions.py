"""The session options with which calibration graphs run, and what the ops of this process have seen."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qir.compat.common.calibration_runs import CalibrationRuns
from qir.runtime.calibration_ops import calibration_options

if TYPE_CHECKING:
    import onnxruntime as ort


@cache
def runs() -> CalibrationRuns:
    """The calibrations of this process: ONNX Runtime has one registry of Python ops for all sessions."""
    return CalibrationRuns()


@cache
def amct_so() -> ort.SessionOptions:
    """AMCT_SO; MissingExtra without onnxruntime-extensions."""
    return calibration_options(runs())
