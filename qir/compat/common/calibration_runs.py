"""What calibration ops in the user's sessions have seen: one run per record file, all runs of the process.

A run takes in activations until each of its ops has seen `batch_num` of them, and then writes scale and zero
point of all layers into the record file at once; what comes later is ignored, as in AMCT.
Which layers there are, the record file says; when somebody else has written it, calibration starts anew.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.deploy import destination
from qir.backends.ascend.record import DraftRecord, LayerRecord, print_record
from qir.backends.ascend.record_reader import parse_drafts
from qir.compat.common.closing import closed_range
from qir.compat.common.outputs import restrict
from qir.ir.atomic import written_aside
from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, QirError
from qir.ir.types import QuantSpec
from qir.passes.calibrate import Calibrate
from qir.passes.pipeline import parse_pipeline
from qir.runtime.balance_factors import balance_factors
from qir.runtime.calibration_ops import (
    BATCH_NUM,
    CHANNEL_AXIS,
    METHOD,
    MIGRATION_STRENGTH,
    NUM_BITS,
    OBJECT_LAYER,
    RECORD_FILE,
    WITH_OFFSET,
    Attributes,
)
from qir.runtime.statistics import TensorStatistics
from qir.runtime.units import Array

F32 = npt.NDArray[np.float32]

RAW_BYTES = 1 << 29
"""Bytes of activations that a run keeps as they are, for results equal to AMCT's to the bit. Tensors that
would go beyond (the first are served first) are kept as histograms of at most 128 KiB each."""
_TYPES = {8: DType.I8, 16: DType.I16}
_log = logging.getLogger(__name__)


class CalibrationRuns:
    """The observer of all calibration ops of a process."""

    def __init__(self, raw_bytes: int = RAW_BYTES) -> None:
        self._raw_bytes = raw_bytes
        self._runs: dict[Path, CalibrationRun] = {}
        self._lock = threading.Lock()

    def range(self, attributes: Attributes, array: F32) -> float:
        """See `Observer.range`."""
        with self._lock:
            return self._run(attributes).range(attributes, array)

    def balance(self, attributes: Attributes, array: F32, weight_maxima: F32) -> None:
        """See `Observer.balance`."""
        with self._lock:
            self._run(attributes).balance(attributes, array, weight_maxima)

    def dump(self, attributes: Attributes, array: Array) -> None:
        """See `Observer.dump`."""
        with self._lock:
            self._run(attributes).dump(attributes, array)

    def feeds(self, record_file: str) -> Mapping[str, Sequence[Array]]:
        """Input -> what the calibration that has filled this record file was fed, in its order."""
        with self._lock:
            run = self._runs.get(Path(record_file).resolve())
            return {} if run is None or run.is_outdated() else run.fed

    def failure(self, record_file: str) -> str | None:
        """Why the calibration that was to fill this record file has failed in this process, if it has."""
        with self._lock:
            run = self._runs.get(Path(record_file).resolve())
            return None if run is None or run.is_outdated() else run.failure

    def _run(self, attributes: Attributes) -> CalibrationRun:
        path = Path(str(attributes[RECORD_FILE])).resolve()
        run = self._runs.get(path)
        if run is None or run.is_outdated():
            run = self._runs[path] = CalibrationRun(path, self._raw_bytes)
        return run


@dataclass
class _Watched:
    """One op: its statistics, freed once the range is closed, and how often it has run."""

    statistics: TensorStatistics | None
    raw_bytes: int
    seen: int = 0
    scale: float = float("nan")


@dataclass
class _Balanced:
    """One balancer: the largest magnitudes of the channels so far, and how often it has run."""

    maxima: F32
    seen: int = 0


@dataclass
class CalibrationRun:
    """The calibration that fills one record file."""

    path: Path
    raw_bytes: int
    failure: str | None = None
    fed: dict[str, list[Array]] = field(default_factory=dict)
    _drafts: dict[str, DraftRecord] = field(default_factory=dict)
    _found: dict[str, DraftRecord | LayerRecord] = field(default_factory=dict)
    _ops: dict[str, _Watched | _Balanced] = field(default_factory=dict)
    _stamp: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise CalibrationError(
                f"the record file '{self.path}' cannot be read: {error.strerror}; quantize_model writes it"
            ) from error
        self._drafts = {key: _draft(record) for key, record in parse_drafts(text, self.path.name).items()}
        self._stamp = _stamp(self.path)

    def is_outdated(self) -> bool:
        """True when somebody else has written the record file since."""
        return _stamp(self.path) != self._stamp

    def range(self, attributes: Attributes, array: F32) -> float:
        """Take in an activation; the scale of its op, NaN while there is none."""
        key, layers = _layers(attributes)
        batches = int(attributes[BATCH_NUM])
        op = self._ops.get(key)
        if op is None:
            op = self._ops[key] = self._watched(key, array.nbytes * batches)
        assert isinstance(op, _Watched)
        if op.statistics is None:
            return op.scale
        with self._noting_failure():
            _update(op.statistics, array, op.seen, layers)
            op.seen += 1
            if op.seen == batches:
                self._close(op, attributes, layers)
        return op.scale

    def balance(self, attributes: Attributes, array: F32, weight_maxima: F32) -> None:
        """Take in an activation of a layer to balance; after each whole forward the record file is written.

        Factors are those of all forwards so far.
        """
        key, layers = _layers(attributes)
        axis = int(attributes[CHANNEL_AXIS])
        with self._noting_failure():
            magnitudes = _channel_maxima(array, axis, weight_maxima.size, layers)
            op = self._ops.setdefault(key, _Balanced(magnitudes))
            assert isinstance(op, _Balanced)
            op.maxima = np.maximum(op.maxima, magnitudes)
            op.seen += 1
            factors = balance_factors(op.maxima, weight_maxima, float(attributes[MIGRATION_STRENGTH]))
            for layer in layers:
                self._found[layer] = DraftRecord(tensor_balance_factor=tuple(factors.tolist()))
            if self._found.keys() == self._drafts.keys() and len({o.seen for o in self._ops.values()}) == 1:
                self._write()

    def dump(self, attributes: Attributes, array: Array) -> None:
        """Keep a copy of what one input of the model was fed, in the first batch_num runs."""
        _, (name,) = _layers(attributes)
        kept = self.fed.setdefault(name, [])
        if len(kept) < int(attributes[BATCH_NUM]):
            kept.append(array.copy())

    def _watched(self, key: str, needed: int) -> _Watched:
        """A new op; it keeps values as they are while there is room for them."""
        taken = sum(op.raw_bytes for op in self._ops.values() if isinstance(op, _Watched))
        raw = taken + needed <= self.raw_bytes
        if not raw:
            _log.warning(
                "%s: %d MB of activations become a histogram, because %d MB of others are kept as they are; "
                "its scale may differ from AMCT's by one candidate (lower batch_num for less)",
                key, needed >> 20, taken >> 20,
            )  # fmt: skip
        return _Watched(TensorStatistics(raw=raw), needed if raw else 0)

    def _close(self, op: _Watched, attributes: Attributes, layers: Sequence[str]) -> None:
        """Close the range of an op, and write the record file when it was the last one."""
        (item,) = parse_pipeline(str(attributes[METHOD]))
        assert isinstance(item, Calibrate)
        assert op.statistics is not None
        spec = QuantSpec(_TYPES[int(attributes[NUM_BITS])], symmetric=not attributes[WITH_OFFSET])
        params = closed_range(op.statistics, spec, item, layers)
        op.statistics, op.raw_bytes, op.scale = None, 0, params.scale[0]
        for layer in layers:
            if layer not in self._drafts:
                raise CalibrationError(
                    f"the record file '{self.path}' has no layer '{layer}'; it was made for another model: "
                    "call quantize_model again"
                )
            self._found[layer] = self._drafts[layer].calibrated(
                params.scale[0], params.zero_point[0], destination(params)
            )
        if self._found.keys() == self._drafts.keys():
            self._write()

    def _write(self) -> None:
        """Write the record file: whole or not at all, layers in the order in which they stood there."""
        text = print_record({key: self._found[key] for key in self._drafts})
        with written_aside(self.path) as file:
            file.write(text.encode())
        restrict(self.path)
        self._stamp = _stamp(self.path)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except QirError as error:
            self.failure = self.failure or str(error)
            raise


def _draft(record: DraftRecord | LayerRecord) -> DraftRecord:
    if isinstance(record, DraftRecord):
        return record
    return DraftRecord(
        record.scale_w,
        record.wts_type,
        record.tensor_balance_factor,
        record.skip_fusion,
        record.is_tensor_quantize,
    )


def _layers(attributes: Attributes) -> tuple[str, tuple[str, ...]]:
    """What tells an op from the others of its record, and its layers."""
    text = str(attributes[OBJECT_LAYER])
    return text, tuple(json.loads(text))


def _update(statistics: TensorStatistics, array: F32, number: int, layers: Sequence[str]) -> None:
    try:
        statistics.update(array, number)
    except CalibrationError as error:
        raise CalibrationError(
            f"The activation to be quantized has invalid value inf or nan! (layer {', '.join(layers)}, "
            f"batch {number + 1}: {error})"
        ) from error


def _channel_maxima(array: F32, axis: int, length: int, layers: Sequence[str]) -> F32:
    if not -array.ndim <= axis < array.ndim or array.shape[axis] != length:
        raise CalibrationError(
            f"the input of layer {', '.join(layers)} has shape {list(array.shape)}, expected {length} "
            f"channels along axis {axis}"
        )
    rows = np.moveaxis(array, axis, 0).reshape(length, -1)
    maxima: F32 = np.abs(rows).max(axis=1, initial=0).astype(np.float32)
    if not np.isfinite(maxima).all():
        raise CalibrationError(
            f"The activation to be quantized has invalid value inf or nan! (layer {', '.join(layers)})"
        )
    return maxima


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
