"""The scale-offset record: layout, reading back, errors."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from nets import many_layers

from qir.backends.ascend.record import LayerRecord, _message_class, parse_record, print_record, records
from qir.ir.errors import BackendError

TEXT = """\
record {
  key: "层/conv \\"1\\""
  value {
    scale_d: 0.043195777
    offset_d: -128
    scale_w: 1e-05
    scale_w: 0.5
    offset_w: 0
    offset_w: 0
    act_type: "INT16"
    wts_type: "INT8"
  }
}
record {
  key: "pool"
  value {
    scale_d: 1.0
    offset_d: 0
    scale_w: 1.0
    offset_w: 0
    act_type: "INT8"
  }
}
"""


def test_layout() -> None:
    scale = float(np.float32(0.043195777))
    layers = {
        '层/conv "1"': LayerRecord(scale, -128, (float(np.float32(1e-5)), 0.5), "INT16"),
        "pool": LayerRecord(1.0, 0, (1.0,), wts_type=None),
    }
    assert print_record(layers) == TEXT
    assert parse_record(TEXT) == layers


def test_protobuf_prints_the_same() -> None:
    random = np.random.default_rng(0)
    drawn = np.exp(random.uniform(-40, 20, 2000))
    scales = np.float32([*drawn, 1e-4, 123456792.0, 0.001]).tolist()
    layers = {
        "a/b.c\t'\\é\x01": LayerRecord(scales[-3], 0, tuple(scales)),
        "": LayerRecord(2.0**-126, 127, (1.0,), wts_type=None),
    }
    text = print_record(layers)
    book = _message_class()()
    text_format.Parse(text, book)
    assert text_format.MessageToString(book, as_utf8=True) == text
    assert parse_record(text) == layers


def test_records_of_a_graph_are_in_running_order() -> None:
    found = records(many_layers().quantized())
    assert list(found) == ["stem", "left", "right", "up", "pool", "fc", "mm"]
    assert found["left"].scale_d == found["right"].scale_d
    assert found["pool"] == LayerRecord(found["pool"].scale_d, found["pool"].offset_d, (1.0,), wts_type=None)
    assert {n: len(r.scale_w) for n, r in found.items()} == {
        "stem": 4, "left": 6, "right": 6, "up": 4, "pool": 1, "fc": 1, "mm": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record { key ", r"amct.txt is not a scale-offset record: .*"),
        ('record { key: "c" value { scale_w: 1 offset_w: 0 } }', "layer 'c' has no scale_d"),
        ('record { key: "c" value { scale_d: 1 offset_d: 0 } }', "layer 'c' has no scale_w"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        parse_record(text, "amct.txt")


def test_fields_of_other_toolkits_are_read() -> None:
    text = 'scale_d: 1 scale_w: 1 channels: 3 cluster: 1 op_data_type: "FLOAT32" new: 4'
    assert parse_record(f'record {{ key: "c" value {{ {text} }} }}')["c"].scale_w == (1.0,)
