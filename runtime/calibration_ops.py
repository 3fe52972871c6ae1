"""Calibration ops for the user's own sessions: AMCT's custom ops, in Python by onnxruntime-extensions.

A calibration graph holds nodes of the domain `amct.customop` that read activations:

    scale, failed = IFMR(x)                       {record_file_path, object_layer, batch_num, …}
    scale, failed = HFMG(x)
    failed        = DMQBalancer(x, weight_maxima) {record_file_path, object_layer, migration_strength, …}
    failed        = DUMP(input)                   {record_file_path, object_layer, batch_num}

ONNX Runtime runs them although nobody reads what they return. What they see goes to an `Observer`. An
exception in a Python op ends the process, so an op only notes its failure in the output `failed` (0, or 1
then); a Gather behind it, whose name says what is wrong, fails by that index.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, ModelError, QirError
from qir.runtime.ort_errors import explain_run
from qir.runtime.session import EXACT_INT8, check_feeds
from qir.runtime.units import Array

DOMAIN = "amct.customop"
RANGE_OPS = ("IFMR", "HFMG")
"""Ops that choose scale and zero point of what they read."""
BALANCER = "DMQBalancer"
"""The op that chooses factors of input channels."""
DUMPS: Mapping[DType, str] = MappingProxyType(
    {DType.F32: "DUMP", DType.F64: "DUMPDouble", DType.I64: "DUMPInt64", DType.STR: "DUMPString"}
)
"""Ops that keep what the model is fed, by the type of their input."""
RECORD_FILE, OBJECT_LAYER, BATCH_NUM = "record_file_path", "object_layer", "batch_num"
"""Attributes: the file that gets the results, the layers concerned (a JSON list; of DUMPS the input), how
many runs count."""
NUM_BITS, WITH_OFFSET, METHOD = "num_bits", "with_offset", "method"
"""Attributes of RANGE_OPS: bits, 1 for a zero point, and the method as text of the pass `calibrate`."""
MIGRATION_STRENGTH, CHANNEL_AXIS = "migration_strength", "channel_axis"
"""Attributes of BALANCER; the strength is text, because a FLOAT would round it."""

F32: TypeAlias = npt.NDArray[np.float32]
I64: TypeAlias = npt.NDArray[np.int64]
Attributes: TypeAlias = Mapping[str, "str | int"]

_log = logging.getLogger(__name__)


class MissingExtra(QirError, ImportError):
    """A package that only this feature needs is not installed."""


class Observer(Protocol):
    """Takes in what calibration ops see. Arrays belong to ONNX Runtime: copy what is to be kept."""

    def range(self, attributes: Attributes, array: F32) -> float:
        """One run of a range op: the current scale, NaN while there is none. QirError: it has failed."""

    def balance(self, attributes: Attributes, array: F32, weight_maxima: F32) -> None:
        """One run of a balancer. QirError: it has failed."""

    def dump(self, attributes: Attributes, array: Array) -> None:
        """One run of a dump of an input of the model."""


def calibration_options(observer: Observer) -> ort.SessionOptions:
    """Options for sessions that can run calibration graphs, whose ops report to `observer`.

    The registry of Python ops belongs to the process: call this once. MissingExtra without
    onnxruntime-extensions.
    """
    try:
        import onnxruntime_extensions as extensions  # noqa: PLC0415  (heavy, and an extra)
    except ImportError as error:
        raise MissingExtra(
            "AMCT_SO needs the package onnxruntime-extensions, which runs the calibration ops in your "
            "session: pip install 'qir[amct]'"
        ) from error
    _register_ops(extensions, observer)
    options = ort.SessionOptions()
    options.add_session_config_entry(*EXACT_INT8)  # models from quantization-aware training run there too
    options.register_custom_ops_library(extensions.get_library_path())
    return options


def _register_ops(extensions: ModuleType, observer: Observer) -> None:
    """Make the calibration ops known to onnxruntime-extensions."""
    kinds = extensions.PyOp
    real, whole, text = kinds.dt_float, kinds.dt_int64, kinds.dt_string

    def close_range(array: F32, **attributes: str | int) -> tuple[F32, I64]:
        scale = np.full(1, np.nan, np.float32)

        def observe() -> None:
            scale[0] = observer.range(attributes, array)

        return scale, _outcome(attributes, observe)

    def balance(array: F32, weight_maxima: F32, **attributes: str | int) -> I64:
        return _outcome(attributes, lambda: observer.balance(attributes, array, weight_maxima))

    def dump(array: Array, **attributes: str | int) -> I64:
        return _outcome(attributes, lambda: observer.dump(attributes, array))

    def register(
        op: str,
        run: Callable[..., object],
        inputs: list[int],
        outputs: list[int],
        attributes: Mapping[str, int],
    ) -> None:
        attrs = {RECORD_FILE: text, OBJECT_LAYER: text, **attributes}
        extensions.onnx_op(op_type=f"{DOMAIN}::{op}", inputs=inputs, outputs=outputs, attrs=attrs)(run)

    for op in RANGE_OPS:
        options = {BATCH_NUM: whole, NUM_BITS: whole, WITH_OFFSET: whole, METHOD: text}
        register(op, close_range, [real], [real, whole], options)
    register(BALANCER, balance, [real, real], [whole], {MIGRATION_STRENGTH: text, CHANNEL_AXIS: whole})
    dumped = {DType.F32: real, DType.F64: kinds.dt_double, DType.I64: whole, DType.STR: text}
    for dtype, op in DUMPS.items():
        register(op, dump, [dumped[dtype]], [whole], {BATCH_NUM: whole})


def _outcome(attributes: Attributes, observe: Callable[[], None]) -> I64:
    """Let an observer see something; 1 when it fails."""
    try:
        observe()
    except Exception as error:  # nothing may leave a Python op
        expected = isinstance(error, QirError)
        _log.error("layers %s: %s", attributes.get(OBJECT_LAYER), error, exc_info=None if expected else error)
        return np.ones(1, np.int64)
    return np.zeros(1, np.int64)


class CalibrationSession:
    """A calibration graph, opened as a user's session would; `options` are those of `calibration_options`.

    ModelError when ONNX Runtime cannot open the file.
    """

    def __init__(self, model_file: str, options: ort.SessionOptions) -> None:
        self._quiet = ort.RunOptions()
        self._quiet.log_severity_level = 4  # errors come back as exceptions
        try:
            self._session = ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of ONNX Runtime have no base of their own
            raise ModelError(f"'{model_file}' cannot be opened: {error}") from error
        self.inputs = tuple(given.name for given in self._session.get_inputs())
        self.outputs = tuple(made.name for made in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for one batch; CalibrationError when it does not fit, or a calibration op fails."""
        check_feeds(self.inputs, feeds)
        try:
            found = self._session.run(list(self.outputs), dict(feeds), self._quiet)
        except Exception as error:  # as above
            raise CalibrationError(explain_run(str(error))) from error
        return dict(zip(self.outputs, found, strict=True))


def run_batches(model_file: str, options: ort.SessionOptions, batches: Iterable[Mapping[str, Array]]) -> None:
    """Run a calibration graph on batches (input -> array); QirError for batches that do not fit."""
    session = CalibrationSession(model_file, options)
    for number, feeds in enumerate(batches, start=1):
        check_feeds(session.inputs, feeds)
        try:
            session.run(feeds)
        except CalibrationError as error:
            raise CalibrationError(f"batch {number} does not run: {error}") from error
