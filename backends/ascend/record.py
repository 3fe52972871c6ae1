"""The scale-offset record: scales and zero points of each quantized layer, in protobuf's text format.

AMCT's tools exchange this file. Only the names of its fields matter, for it is text; the numbers below merely
give their order, which is that of the PyTorch toolkit. The message classes are built here, so no generated
code is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
    text_encoding,
    text_format,
)

from qir.backends.ascend.deploy import destination
from qir.backends.layers import QuantizedLayer, read_layers
from qir.ir.errors import BackendError
from qir.ir.graph import Graph

_Field = descriptor_pb2.FieldDescriptorProto
_OPTIONAL, _REPEATED = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
_LAYER_FIELDS = (
    ("scale_d", 1, _Field.TYPE_FLOAT, _OPTIONAL),
    ("offset_d", 2, _Field.TYPE_INT32, _OPTIONAL),
    ("scale_w", 3, _Field.TYPE_FLOAT, _REPEATED),
    ("offset_w", 4, _Field.TYPE_INT32, _REPEATED),
    ("shift_bit", 5, _Field.TYPE_UINT32, _REPEATED),
    ("tensor_balance_factor", 6, _Field.TYPE_FLOAT, _REPEATED),
    ("skip_fusion", 9, _Field.TYPE_BOOL, _OPTIONAL),
    ("dst_type", 10, _Field.TYPE_STRING, _OPTIONAL),
    ("act_type", 11, _Field.TYPE_STRING, _OPTIONAL),
    ("wts_type", 12, _Field.TYPE_STRING, _OPTIONAL),
    ("fakequant_precision_mode", 13, _Field.TYPE_STRING, _OPTIONAL),
    # Written by the ONNX and Caffe toolkits; known here so that their records can be read.
    ("channels", 31, _Field.TYPE_UINT32, _OPTIONAL),
    ("height", 32, _Field.TYPE_UINT32, _OPTIONAL),
    ("width", 33, _Field.TYPE_UINT32, _OPTIONAL),
    ("is_tensor_quantize", 34, _Field.TYPE_BOOL, _OPTIONAL),
    ("op_data_type", 35, _Field.TYPE_STRING, _OPTIONAL),
    ("cluster", 36, _Field.TYPE_INT32, _REPEATED),
)


@dataclass(frozen=True)
class LayerRecord:
    """What the record says of one layer: real = (stored - offset) * scale, for its input and its weight.

    `scale_w` holds one scale for each output channel or a single one; AveragePool has 1.0 and no `wts_type`.
    """

    scale_d: float
    offset_d: int
    scale_w: tuple[float, ...]
    act_type: str = "INT8"
    wts_type: str | None = "INT8"


def records(graph: Graph) -> dict[str, LayerRecord]:
    """Layer name -> record, in running order; BackendError when the graph is not completely quantized."""
    return {layer.name: _of_layer(layer) for layer in read_layers(graph)}


def _of_layer(layer: QuantizedLayer) -> LayerRecord:
    weight = None if layer.weight is None else layer.weight.params
    return LayerRecord(
        layer.activation.scale[0],
        layer.activation.zero_point[0],
        (1.0,) if weight is None else weight.scale,
        destination(layer.activation),
        None if weight is None else destination(weight),
    )


def print_record(layers: Mapping[str, LayerRecord]) -> str:
    """The text of a record file, as protobuf prints it (which takes ten times as long)."""
    lines: list[str] = []
    for name, layer in layers.items():
        lines += ["record {", f'  key: "{text_encoding.CEscape(name, True)}"', "  value {"]
        lines += [f"    scale_d: {_number(layer.scale_d)}", f"    offset_d: {layer.offset_d}"]
        lines += [f"    scale_w: {_number(scale)}" for scale in layer.scale_w]
        lines += ["    offset_w: 0"] * len(layer.scale_w)
        lines.append(f'    act_type: "{layer.act_type}"')
        if layer.wts_type is not None:
            lines.append(f'    wts_type: "{layer.wts_type}"')
        lines += ["  }", "}"]
    return "".join(f"{line}\n" for line in lines)


def _number(x: float) -> str:
    """The shortest decimal that reads back as the same float32, laid out as Python lays out a float."""
    return repr(float(str(np.float32(x))))


def parse_record(text: str, filename: str = "<text>") -> dict[str, LayerRecord]:
    """Layer name -> record; BackendError when the text is malformed or a layer lacks a scale."""
    book = _message_class()()
    try:
        text_format.Parse(text, book, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise BackendError(f"{filename} is not a scale-offset record: {error}") from error
    found: dict[str, LayerRecord] = {}
    for entry in book.record:
        value = entry.value
        if not value.HasField("scale_d") or not value.scale_w:
            missing = "scale_w" if value.HasField("scale_d") else "scale_d"
            raise BackendError(f"{filename}: layer '{entry.key}' has no {missing}; calibrate it again")
        found[entry.key] = LayerRecord(
            value.scale_d,
            value.offset_d,
            tuple(value.scale_w),
            value.act_type or "INT8",
            value.wts_type or None,
        )
    return found


@cache
def _message_class() -> type[message.Message]:
    """The message class of a whole record file."""
    file = descriptor_pb2.FileDescriptorProto(name="qir/scale_offset_record.proto", package="qir.record")
    layer = file.message_type.add(name="SingleLayerRecord")
    for name, number, kind, label in _LAYER_FIELDS:
        layer.field.add(name=name, number=number, type=kind, label=label)
    entry = file.message_type.add(name="MapFiledEntry")
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=_Field.TYPE_MESSAGE,
        label=_OPTIONAL,
        type_name=".qir.record.SingleLayerRecord",
    )
    book = file.message_type.add(name="ScaleOffsetRecord")
    book.field.add(
        name="record",
        number=1,
        type=_Field.TYPE_MESSAGE,
        label=_REPEATED,
        type_name=".qir.record.MapFiledEntry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("qir.record.ScaleOffsetRecord")
    made: type[message.Message] = message_factory.GetMessageClass(descriptor)
    return made
