"""`qir config`, and `qir quantize --config`: files, edits, and what is said when something does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main
from qir.config.settings import LayerSettings, QuantConfig
from qir.ir.errors import CalibrationError, ConfigError

DATA = Path(__file__).parents[1] / "data" / "amct"
NET = DATA / "cnn_bn"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_writes_the_references_file(tmp_path: Path) -> None:
    out = tmp_path / "config.json"
    done = call("config", NET / "float.onnx", "--batch-num", 2, "-o", out)
    assert (done.exit_code, done.output) == (0, "")
    assert out.read_bytes() == (NET / "config.json").read_bytes()
    assert call("config", NET / "float.onnx", "--batch-num", 2).output == out.read_text() + "\n"


def test_options_and_simplified_configuration() -> None:
    plain = json.loads(call("config", NET / "float.onnx", "--skip", "fc", "--symmetric").output)
    assert not plain["fc"]["quant_enable"]
    assert not plain["conv1"]["activation_quant_params"]["asymmetric"]
    variant = DATA / "hfmg"
    found = call("config", variant / "float.onnx", "--cfg", variant / "quant.cfg")
    assert found.output == (variant / "config.json").read_text() + "\n"


def test_prints_what_it_means_as_a_pipeline() -> None:
    variant = DATA / "hfmg"
    found = call("config", variant / "float.onnx", "--cfg", variant / "quant.cfg", "--as-pipeline").output
    assert "insert-quant{asymmetric=false ops=MatMul},insert-quant," in found
    assert "calibrate{method=hfmg bins=1024 ops=MatMul},calibrate{method=hfmg}," in found


def test_an_edited_file_quantizes(tmp_path: Path) -> None:
    out = tmp_path / "config.json"
    call("config", NET / "float.onnx", "-o", out)
    entries = json.loads(out.read_text())
    entries["conv1"]["quant_enable"] = False
    del entries["pool"]
    entries["pw"]["activation_quant_params"]["num_bits"] = 16
    out.write_text(json.dumps(entries))
    done = call(
        "quantize", NET / "float.onnx", "--data", NET / "calib.npz", "--config", out, "-o", tmp_path / "net",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 of 5 layers run in integers" in done.output
    record = (tmp_path / "net_record.txt").read_text()
    assert '"conv1"' not in record
    assert '"pool"' not in record
    assert record.count('act_type: "INT16"') == 1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"cnv1": {}}, "error: cnv1 is an invalid layer name or parameter. Did you mean 'conv1'"),
        (
            {"conv1": {"weight_quant_params": {"wts_algo": "ada_quantize"}}},
            "'ada_quantize' is not available yet",
        ),
        ({"conv1": {}, "joint_quant": True}, "joint_quant is not available yet"),
        (
            {"conv1": {}, "batch_num": 9},
            "insufficient calibration data: batch_num is 9, so at least 9 samples",
        ),
    ],
)
def test_one_message_and_no_file(tmp_path: Path, entries: dict[str, object], message: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(entries))
    done = call(
        "quantize", NET / "float.onnx", "--data", NET / "calib.npz", "--config", config, "-o", tmp_path / "n",
        "--quiet",
    )  # fmt: skip
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == [config]


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    for name, message in (("none.json", "cannot be read"), ("config.yaml", "is no configuration")):
        with pytest.raises(ConfigError, match=message):
            qir.quantize(NET / "float.onnx", NET / "calib.npz", config=tmp_path / name)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not text in UTF-8"):
        qir.quantize(NET / "float.onnx", NET / "calib.npz", config=tmp_path / "bytes.json")


def test_an_existing_model_is_never_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes((NET / "float.onnx").read_bytes())
    done = call("config", model, "-o", model)
    assert done.exit_code == 1
    assert model.read_bytes() == (NET / "float.onnx").read_bytes()


def test_from_python() -> None:
    feeds = [{"input": batch} for batch in np.split(np.load(NET / "calib.npz")["input"], 2)]
    entries = json.loads((NET / "config.json").read_text())
    entries["fc"]["quant_enable"] = False
    for config in (entries, QuantConfig(layers={"fc": LayerSettings(enabled=False)})):
        found = qir.quantize(NET / "float.onnx", feeds, config=config)
        assert [layer.name for layer in found.report.layers if not layer.is_quantized] == ["fc"]
    skipped = qir.quantize(NET / "float.onnx", feeds, config=entries, skip=["pw"])
    assert [layer.name for layer in skipped.report.layers if not layer.is_quantized] == ["pw", "fc"]
    with pytest.raises(ConfigError, match="the configuration says by which methods to calibrate"):
        qir.quantize(NET / "float.onnx", feeds, config=entries, method="kl")
    with pytest.raises(CalibrationError, match="and there are 8"):
        qir.quantize(NET / "float.onnx", feeds, config=QuantConfig(batch_num=9))
