"""Reads the text of a scale-offset record, and checks all that can be checked without the model.

Only the names of the fields matter, for the file is text; the numbers below merely give their order, which is
that of the PyTorch toolkit. The message classes are built here, so no generated code is needed.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from qir.backends.ascend.record import AFTER_PASS, DraftRecord, LayerRecord
from qir.ir.errors import BackendError

_Numbers: TypeAlias = npt.NDArray[np.float64]
_Truths: TypeAlias = npt.NDArray[np.bool_]
_Field = descriptor_pb2.FieldDescriptorProto
_OPTIONAL, _REPEATED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_LAYER_FIELDS = (
    ("scale_d", 1, _Field.TYPE_FLOAT, _OPTIONAL),
    ("offset_d", 2, _Field.TYPE_INT32, _OPTIONAL),
    ("scale_w", 3, _Field.TYPE_FLOAT, _REPEATED),
    ("offset_w", 4, _Field.TYPE_INT32, _REPEATED),
    ("shift_bit", 5, _Field.TYPE_UINT32, _REPEATED),
    ("tensor_balance_factor", 6, _Field.TYPE_FLOAT, _REPEATED),
    ("is_tensor_quantize", 7, _Field.TYPE_BOOL, _OPTIONAL),
    ("skip_fusion", 9, _Field.TYPE_BOOL, _OPTIONAL),
    ("dst_type", 10, _Field.TYPE_STRING, _OPTIONAL),
    ("act_type", 11, _Field.TYPE_STRING, _OPTIONAL),
    ("wts_type", 12, _Field.TYPE_STRING, _OPTIONAL),
    ("fakequant_precision_mode", 13, _Field.TYPE_STRING, _OPTIONAL),
    # Written by the ONNX and Caffe toolkits; known here so that their records can be read.
    ("channels", 31, _Field.TYPE_UINT32, _OPTIONAL),
    ("height", 32, _Field.TYPE_UINT32, _OPTIONAL),
    ("width", 33, _Field.TYPE_UINT32, _OPTIONAL),
    ("op_data_type", 35, _Field.TYPE_STRING, _OPTIONAL),
    ("cluster", 36, _Field.TYPE_INT32, _REPEATED),
)
_ACT_TYPES = ("INT4", "INT8", "INT16")
_WTS_TYPES = ("INT4", "INT6", "INT7", "INT8")
_MAX_SHIFT = 16
_EPSILON = float(np.finfo(np.float32).eps)
_LIMITS = {"INT4": (-8, 7), "INT8": (-128, 127), "INT16": (-32768, 32767)}
_POSITIVE = "shoule be in positivate range of float32"
"""In AMCT's spelling, as all messages that AMCT has: scripts look for them."""
_UNKNOWN_FIELD = "has no field named"
_RUN = re.compile(r"^[ \t]*(\w+): ?[-+.\w]+\n(?:[ \t]*\1: ?[-+.\w]+\n)+", re.MULTILINE)
"""Lines that give a repeated field one value each."""
_log = logging.getLogger(__name__)


class RecordValueError(BackendError, ValueError):
    """A number of a record is out of its range: AMCT has a ValueError for that."""


class _LayerMessage(Protocol):
    """A message of the fields `_LAYER_FIELDS`, those that are read."""

    scale_d: float
    offset_d: int
    scale_w: Sequence[float]
    offset_w: Sequence[int]
    shift_bit: Sequence[int]
    tensor_balance_factor: Sequence[float]
    is_tensor_quantize: bool
    skip_fusion: bool
    dst_type: str
    act_type: str
    wts_type: str
    cluster: Sequence[int]

    def HasField(self, name: str) -> bool:  # noqa: N802, protobuf's name
        """True when an optional field stands in the text."""


def passes_before(text: str) -> tuple[str, ...]:
    """The passes that must run on the float model before a record fits it, as its comments name them."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return tuple(line.removeprefix(AFTER_PASS) for line in lines if line.startswith(AFTER_PASS))


def parse_record(text: str, filename: str = "<text>") -> dict[str, LayerRecord]:
    """Key -> record, as they stand in the text.

    BackendError names the layer and the field when the text is malformed, a field is missing, or a number is
    out of its range. Fields that qir does not know are skipped with a warning.
    """
    return {key: _read(key, value, filename) for key, value in _entries(text, filename).items()}


def parse_drafts(text: str, filename: str = "<text>") -> dict[str, DraftRecord | LayerRecord]:
    """As `parse_record`, for a file whose layers are calibrated in part, or not at all."""
    return {
        key: _read(key, value, filename) if value.HasField("scale_d") else _read_draft(key, value)
        for key, value in _entries(text, filename).items()
    }


def _entries(text: str, filename: str) -> dict[str, _LayerMessage]:
    """Key -> message."""
    book: Any = _message_class()()
    try:
        _parse(text, book, filename)
    except text_format.ParseError as error:
        raise BackendError(
            f"the record_file{{{filename}}} cannot be parsered, please ensure it matches with "
            f"scale_offset_record.proto! ({error})"
        ) from error
    found: dict[str, _LayerMessage] = {}
    for number, entry in enumerate(book.record, start=1):
        where = f"record {number} of '{filename}'"
        if not entry.HasField("key"):
            raise BackendError(f'Cannot find "key" in record file. (It is the name of a layer; {where})')
        if not entry.HasField("value"):
            raise BackendError(f"cannot find 'value' in {entry.key} in record_file. ({where})")
        if entry.key in found:
            raise BackendError(f"layer '{entry.key}' stands twice in '{filename}'; delete one of its records")
        found[entry.key] = entry.value
    return found


def _parse(text: str, book: message.Message, filename: str) -> None:
    try:
        text_format.Parse(_RUN.sub(_as_list, text), book)  # a layer has thousands of channels
        return
    except text_format.ParseError:
        book.Clear()  # once more: the message is to show the text as it is
    try:
        text_format.Parse(text, book)
    except text_format.ParseError as error:
        if _UNKNOWN_FIELD not in str(error):
            raise
        book.Clear()
        text_format.Parse(text, book, allow_unknown_field=True)
        _log.warning("'%s': fields that qir does not know were skipped, the first: %s", filename, error)


def _as_list(run: re.Match[str]) -> str:
    """A run of lines in the short form of protobuf's text, which is parsed in half the time."""
    lines = run[0].splitlines()
    values = ", ".join(line.partition(":")[2] for line in lines)
    return f"{run[1]}: [{values}]" + "\n" * len(lines)


def _read(layer: str, value: _LayerMessage, filename: str) -> LayerRecord:
    """The record of one layer out of its message, a SingleLayerRecord."""
    for name in ("scale_d", "offset_d"):
        if not value.HasField(name):
            raise BackendError(
                f"cannot find {name} of layer {layer} in record_file, please check data calibration process! "
                f"('{filename}')"
            )
    act_type = value.act_type or value.dst_type or "INT8"
    _check_type(layer, "act_type", act_type, _ACT_TYPES)
    _check_type(layer, "wts_type", value.wts_type or "INT8", _WTS_TYPES)
    _check_each(layer, "scale_d", [value.scale_d], _are_scales, _POSITIVE)
    low, high = _LIMITS[act_type]
    _check_each(
        layer,
        "offset_d",
        [value.offset_d],
        lambda x: (low <= x) & (x <= high),
        f"should be in [{low}, {high}]",
    )
    _check_weight(layer, value, filename)
    _check_balance(layer, value)
    if value.cluster:
        raise BackendError(
            f"cluster of layer '{layer}': weights in clusters (NUQ) are not supported; calibrate it without"
        )
    return LayerRecord(
        value.scale_d,
        value.offset_d,
        tuple(value.scale_w),
        act_type,
        value.wts_type or None,
        tuple(value.tensor_balance_factor),
        value.skip_fusion,
        value.is_tensor_quantize,
    )


def _read_draft(layer: str, value: _LayerMessage) -> DraftRecord:
    _check_each(layer, "scale_w", value.scale_w, _are_scales, _POSITIVE)
    _check_balance(layer, value)
    return DraftRecord(
        tuple(value.scale_w),
        value.wts_type or None,
        tuple(value.tensor_balance_factor),
        value.skip_fusion,
        value.is_tensor_quantize,
    )


def _check_balance(layer: str, value: _LayerMessage) -> None:
    _check_each(
        layer, "tensor_balance_factor", value.tensor_balance_factor,
        lambda x: (x >= _EPSILON) & (x <= 1 / _EPSILON), f"should be in [{_EPSILON:.9g}, {1 / _EPSILON:.9g}]",
    )  # fmt: skip


def _check_weight(layer: str, value: _LayerMessage, filename: str) -> None:
    """The fields of the weight: all there, in step, in range; for tensor quantization none at all."""
    if value.is_tensor_quantize:
        if value.scale_w or value.offset_w:
            raise BackendError(f"scale_w of '{layer}': tensor quantization has no weight; delete the field")
        return
    for name in ("scale_w", "offset_w"):
        if not getattr(value, name):
            raise BackendError(f"cannot find {name} of layer {layer} in record_file ('{filename}')")
    scales, offsets = len(value.scale_w), len(value.offset_w)
    if scales != offsets:
        raise BackendError(
            f"scale_w's length, offset_w's length should be equal in layer {layer}. "
            f"(They are {scales} and {offsets})"
        )
    _check_each(layer, "scale_w", value.scale_w, _are_scales, _POSITIVE)
    _check_each(layer, "offset_w", value.offset_w, lambda x: x == 0, "should be 0")
    _check_each(
        layer, "shift_bit", value.shift_bit, lambda x: x <= _MAX_SHIFT, f"should be 0, or 1 to {_MAX_SHIFT}"
    )
    if any(value.shift_bit):
        raise BackendError(
            f"shift_bit is not support, please delete shift_bit of layer {layer} in record_file"
        )


def _are_scales(values: _Numbers) -> _Truths:
    """True for scales by which the device can divide: neither they nor their reciprocals leave float32."""
    with np.errstate(over="ignore", divide="ignore"):
        single = values.astype(np.float32)
        usable: _Truths = np.isfinite(values) & (values > 0) & np.isfinite(np.float32(1) / single)
    return usable


def _check_each(
    layer: str, name: str, values: Sequence[float], hold: Callable[[_Numbers], _Truths], what: str
) -> None:
    failing = np.flatnonzero(~hold(np.asarray(values, np.float64)))
    if failing.size:
        i = int(failing[0])
        raise RecordValueError(f"{name}'s value {what} in layer {layer}. (It is {values[i]}, entry {i})")


def _check_type(layer: str, name: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise BackendError(f"{name} of layer '{layer}' should be one of {', '.join(allowed)}, not '{given}'")


@cache
def _message_class() -> type[message.Message]:
    """The message class of a whole record file."""
    file = descriptor_pb2.FileDescriptorProto(name="qir/scale_offset_record.proto", package="qir.record")
    layer = file.message_type.add(name="SingleLayerRecord")
    for name, number, kind, label in _LAYER_FIELDS:
        layer.field.add(name=name, number=number, type=kind, label=label)
    entry = file.message_type.add(name="MapFiledEntry")
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_OPTIONAL)
    for parent, name, number, label, kind in (
        (entry, "value", 2, _OPTIONAL, "SingleLayerRecord"),
        (file.message_type.add(name="ScaleOffsetRecord"), "record", 1, _REPEATED, "MapFiledEntry"),
    ):
        parent.field.add(
            name=name, number=number, type=_Field.TYPE_MESSAGE, label=label, type_name=f".qir.record.{kind}"
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("qir.record.ScaleOffsetRecord")
    made: type[message.Message] = message_factory.GetMessageClass(descriptor)
    return made
