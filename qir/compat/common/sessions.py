"""The session options with which calibration graphs run, and what the ops of this process have seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from qir.compat.common.calibration_runs import CalibrationRuns
from qir.compat.common.errors import CompatRuntimeError
from qir.ir.errors import QirError
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


@contextmanager
def explaining_failures(record_file: str) -> Iterator[None]:
    """Let the run of a calibration graph that fails in an op say why: ONNX Runtime knows only in which."""
    try:
        yield
    except QirError as error:
        failure = runs().failure(record_file)
        if failure is None or failure in str(error):
            raise
        raise CompatRuntimeError(failure) from error
