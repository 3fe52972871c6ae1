"""`qir config`, and `qir quantize --config`: files, edits, and what is said when something does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main
from qir.config.levels.reader import levels_of
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


LEVELS = {
    "model_config": {"activation": {"calibration_type": "kl"}},
    "node_config": {"conv1": {"qtype": "int16"}},
}


def quantized(tmp_path: Path, *options: object) -> Result:
    return call(
        "quantize", NET / "float.onnx", "--data", NET / "calib.npz", "-o", tmp_path / "net", *options
    )  # fmt: skip


def test_quant_config_quantizes_shows_and_saves_its_table(tmp_path: Path) -> None:
    file = tmp_path / "levels.json"
    file.write_text(json.dumps(LEVELS))
    done = quantized(tmp_path, "--quant-config", file, "--show-config")
    assert done.exit_code == 0, done.output
    assert "conv1\tinput0\tint16\tint16\t\n" in done.output
    assert "conv1\tinput1\tint16\tint8\tint16 is for the first input of a layer" in done.output
    saved = json.loads((tmp_path / "net_resolved_config.json").read_text())
    assert saved["quant_config"] == LEVELS
    assert saved["resolved"][0] == {
        "node": "conv1", "operand": "input0", "requested": "int16", "granted": "int16", "reason": "",
    }  # fmt: skip
    assert "net_resolved_config.json" in done.output
    assert 'act_type: "INT16"' in (tmp_path / "net_record.txt").read_text()

    printed = call("config", NET / "float.onnx", "--quant-config", file).output
    assert printed in done.output
    out = tmp_path / "table.json"
    assert call("config", NET / "float.onnx", "--quant-config", file, "-o", out).output == ""
    assert json.loads(out.read_text()) == saved
    passes = call("config", NET / "float.onnx", "--quant-config", file, "--as-pipeline").output
    assert "insert-quant{precision=int16 layers=conv1},insert-quant," in passes
    assert "calibrate{method=kl num-bin=1024}" in passes


@pytest.mark.parametrize(
    ("model", "is_open"),
    [
        ({}, True),
        ({"activation": {"asymmetric": False}}, True),
        ({"activation": {"calibration_type": "max"}}, False),
        ({"modelwise_search": {}}, False),
    ],
)
def test_a_method_that_a_quant_config_leaves_open_is_said(
    model: dict[str, object], is_open: bool, tmp_path: Path
) -> None:
    file = tmp_path / "levels.json"
    file.write_text(json.dumps({"model_config": model}))
    done = quantized(tmp_path, "--quant-config", file, "--proof-samples", 0)
    assert done.exit_code == 0, done.output
    assert ("names no calibration_type" in done.output) == is_open


def test_quant_config_by_its_keys_in_python(tmp_path: Path) -> None:
    def record(config: object) -> str:
        qir.quantize(NET / "float.onnx", NET / "calib.npz", config=config, output=tmp_path / "net")  # type: ignore[arg-type]
        return (tmp_path / "net_record.txt").read_text()

    file = tmp_path / "levels.json"
    file.write_text(json.dumps(LEVELS))
    assert record(LEVELS) == record(file) == record(levels_of(LEVELS)) != record({"model_config": {}})
    with pytest.raises(
        ConfigError, match="two ways: 'model_config' is a key of quant_config, 'conv1' one of AMCT"
    ):
        record({**LEVELS, "conv1": {}})
    with pytest.raises(ConfigError, match="two ways"):
        record({**LEVELS, "version": 1})
    with pytest.raises(ConfigError, match="node_confg is an invalid parameter; did you mean 'node_config'"):
        record({"node_confg": {"conv1": {"qtype": "int16"}}})


def test_the_saved_table_says_what_became_of_layers_without_a_scale(tmp_path: Path) -> None:
    feeds = {name: array * np.float32(1e-12) for name, array in np.load(NET / "calib.npz").items()}
    np.savez(tmp_path / "tiny.npz", **feeds)  # type: ignore[arg-type]
    found = qir.quantize(
        NET / "float.onnx", tmp_path / "tiny.npz", config={"model_config": {"all_node_type": "int8"}}
    )
    assert found.resolved_path is None
    left = {layer.name: layer.reason for layer in found.report.layers if not layer.is_quantized}
    rows = {row.node: row for row in found.resolved if row.operand == "input0"}
    assert left
    for name, reason in left.items():
        assert (rows[name].granted, rows[name].reason) == ("float32", reason)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--show-config",), "--show-config needs --quant-config or --config"),
        (("--quant-config", "a.json", "--config", "b.json"), "exclude each other"),
        (("--quant-config", "nowhere.json"), "'nowhere.json' cannot be read: No such file"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = quantized(tmp_path, *options)
    assert done.exit_code != 0
    assert message in done.output
    assert not list(tmp_path.iterdir())


def test_a_quant_config_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "net_resolved_config.json"
    file.write_text(json.dumps(LEVELS))
    done = quantized(tmp_path, "--config", file)
    assert (done.exit_code, "is the configuration itself" in done.output) == (1, True)
    done = quantized(tmp_path, "--quant-config", file)
    assert (done.exit_code, "is the configuration itself" in done.output) == (1, True)
    done = call("config", NET / "float.onnx", "--quant-config", file, "-o", file)
    assert (done.exit_code, "is the configuration itself" in done.output) == (1, True)
    assert json.loads(file.read_text()) == LEVELS
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_amct_options_do_not_go_with_quant_config(tmp_path: Path) -> None:
    done = call("config", NET / "float.onnx", "--quant-config", tmp_path / "a.json", "--symmetric")
    assert (done.exit_code, "leave out --skip" in done.output) == (2, True)
