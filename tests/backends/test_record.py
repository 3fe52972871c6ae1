"""The scale-offset record: layout, reading back, errors."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from nets import many_layers

from qir.backends.ascend.record import LayerRecord, print_record, records
from qir.backends.ascend.record_reader import _message_class, parse_record
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
        "balanced": LayerRecord(1.0, 0, (1.0,), "INT16", "INT4", (0.5, scales[0]), skip_fusion=True),
        "add:1": LayerRecord(1.0, 0, (), wts_type=None, is_tensor_quantize=True),
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


GOOD = "scale_d: 1 offset_d: 0 scale_w: 1 offset_w: 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "record { key ",
            r"the record_file{amct.txt} cannot be parsered, please ensure it matches with .*\.proto!",
        ),
        ("record { value { } }", 'Cannot find "key" in record file.'),
        ('record { key: "c" }', "cannot find 'value' in c in record_file."),
        (f'record {{ key: "c" value {{ {GOOD} }} }}' * 2, "layer 'c' stands twice"),
    ],
)
def test_malformed_text(text: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        parse_record(text, "amct.txt")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("scale_w: 1 offset_w: 0", "cannot find scale_d of layer c in record_file, please check data cal"),
        ("scale_d: 1 scale_w: 1 offset_w: 0", "cannot find offset_d of layer c"),
        ("scale_d: 1 offset_d: 0", "cannot find scale_w of layer c"),
        ("scale_d: 1 offset_d: 0 scale_w: 1", "cannot find offset_w of layer c"),
        (
            "scale_d: nan offset_d: 0 scale_w: 1 offset_w: 0",
            "scale_d's value shoule be in positivate range of float32 in layer c. .It is nan",
        ),
        ("scale_d: inf offset_d: 0 scale_w: 1 offset_w: 0", "scale_d's value .* in layer c\\."),
        ("scale_d: 0 offset_d: 0 scale_w: 1 offset_w: 0", "scale_d's value .* in layer c. .It is 0.0"),
        ("scale_d: 1e-40 offset_d: 0 scale_w: 1 offset_w: 0", "scale_d's value .* in layer c\\."),
        ("scale_d: 1 offset_d: 0 scale_w: [1, -2] offset_w: [0, 0]", "scale_w.s .*It is -2.0, entry 1"),
        ("scale_d: 1 offset_d: 0 scale_w: nan offset_w: 0", "scale_w's value .* in layer c\\."),
        ("scale_d: 1 offset_d: 128 scale_w: 1 offset_w: 0", r"offset_d.* be in \[-128, 127\] in layer c\."),
        ("scale_d: 1 offset_d: -129 scale_w: 1 offset_w: 0", "offset_d's value .* .It is -129"),
        (
            'scale_d: 1 offset_d: 32768 scale_w: 1 offset_w: 0 act_type: "INT16"',
            r"offset_d's value should be in \[-32768, 32767\] in layer c\.",
        ),
        ("scale_d: 1 offset_d: 0 scale_w: 1 offset_w: 1", "offset_w's value should be 0 in layer c"),
        (
            "scale_d: 1 offset_d: 0 scale_w: [1, 1] offset_w: 0",
            "scale_w's length, offset_w's length should be equal in layer c. .They are 2 and 1",
        ),
        (f"{GOOD} shift_bit: 3", "shift_bit is not support, please delete shift_bit of layer c"),
        (f"{GOOD} shift_bit: 17", "shift_bit's value should be 0, or 1 to 16 in layer c. .It is 17"),
        (f"{GOOD} tensor_balance_factor: [1, 1e-8]", "tensor_balance_factor's value .* in layer c"),
        (f"{GOOD} tensor_balance_factor: 1e8", "tensor_balance_factor's value .* in layer c"),
        (f'{GOOD} act_type: "INT6"', "act_type of layer 'c' should be one of INT4, INT8, INT16, not 'INT6'"),
        (f'{GOOD} wts_type: "INT16"', "wts_type of layer 'c' should be one of INT4, INT6, INT7, INT8"),
        (f"{GOOD} cluster: 3", "cluster of layer 'c'"),
        (f"{GOOD} is_tensor_quantize: true", "scale_w of 'c': tensor quantization has no weight"),
    ],
)  # fmt: skip
def test_bad_fields(fields: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        parse_record(f'record {{ key: "c" value {{ {fields} }} }}', "amct.txt")


def test_a_bad_line_among_the_channels_is_shown_as_it_stands() -> None:
    lines = "".join(f"    scale_w: {1 + i}.5\n" for i in range(20)).replace(" 7.5", " 7.5x")
    with pytest.raises(BackendError, match=r"10:14 : '    scale_w: 7.5x'"):
        parse_record(f'record {{\n  key: "a"\n  value {{\n{lines}  }}\n}}\n')


def test_fields_of_other_toolkits_are_read(caplog: pytest.LogCaptureFixture) -> None:
    known = f'{GOOD} channels: 3 op_data_type: "FLOAT32" shift_bit: 0'
    assert parse_record(f'record {{ key: "c" value {{ {known} }} }}')["c"].scale_w == (1.0,)
    assert not caplog.text
    text = f'record {{ key: "c" value {{ {GOOD} skip_fusoin: true }} }}'
    assert not parse_record(text, "amct.txt")["c"].skip_fusion
    assert 'no field named "skip_fusoin"' in caplog.text


def test_int16_reaches_further() -> None:
    text = (
        'record { key: "c" value { scale_d: 1 offset_d: -32768 scale_w: 1 offset_w: 0 act_type: "INT16" } }'
    )
    assert parse_record(text)["c"] == LayerRecord(1.0, -32768, (1.0,), "INT16", None)
