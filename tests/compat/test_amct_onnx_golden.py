"""The golden nets through `amct_onnx` as a user's script: configuration, calibration graph, record, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from amct_reference import DATA, NETS, assert_same_deploy_file, reference

import qir.compat.amct_onnx as amct
from qir.backends.ascend.record_reader import parse_record

VARIANTS = ("default_sym", "hfmg", "fp16", "int4")


def configure(net: str) -> None:
    if (DATA / net / "quant.cfg").exists():
        amct.create_quant_config(
            "config.json", str(DATA / net / "float.onnx"), config_defination=str(DATA / net / "quant.cfg")
        )
    else:
        amct.create_quant_config("config.json", str(DATA / net / "float.onnx"), batch_num=2)


def calibrate(net: str, batches: int = 2) -> None:
    data = np.load(DATA / net / "calib.npz")
    session = ort.InferenceSession("modified.onnx", amct.AMCT_SO)
    size = len(data["input"]) // 2
    for i in range(batches):
        session.run(None, {"input": data["input"][i * size : (i + 1) * size]})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("net", [*NETS, *VARIANTS])
def test_a_script_gets_the_references_record(net: str, folder: Path) -> None:
    configure(net)
    assert Path("config.json").read_text() == (DATA / net / "config.json").read_text()
    amct.quantize_model("config.json", str(DATA / net / "float.onnx"), "modified.onnx", "record.txt")
    calibrate(net)
    found, expected = parse_record(Path("record.txt").read_text()), reference(net)
    assert list(found) == list(expected)
    for name, golden in expected.items():
        mine = found[name]
        assert mine.scale_w == golden.scale_w, name
        # The same candidate (neighbours are 1/130 apart); convolution engines differ in the last bits.
        assert mine.scale_d == pytest.approx(golden.scale_d, rel=1e-6), name
        assert mine.offset_d == golden.offset_d, name
        assert (mine.act_type, mine.wts_type) == (golden.act_type, golden.wts_type)


@pytest.mark.parametrize("net", [*NETS, *VARIANTS])
def test_a_script_gets_the_references_models(net: str, folder: Path) -> None:
    """From the reference's scales: those of our own calibration differ in the last bits."""
    configure(net)
    amct.quantize_model("config.json", str(DATA / net / "float.onnx"), "modified.onnx", "record.txt")
    amct.save_model("modified.onnx", str(DATA / net / "record.txt"), "results/net")
    written = sorted(path.name for path in Path("results").iterdir())
    assert written == ["net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json"]
    assert_same_deploy_file(onnx.load("results/net_deploy_model.onnx"), net)
    session = ort.InferenceSession("results/net_fake_quant_model.onnx", amct.AMCT_SO)
    golden = np.load(DATA / net / "test.npz")
    (found,) = session.run(None, {"input": golden["input"]})
    expected = golden["fake_quant_output"]
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)


def test_channels_are_balanced_as_the_reference_does(folder: Path) -> None:
    configure("dmq")
    model = str(DATA / "dmq" / "float.onnx")
    with pytest.raises(RuntimeError, match="config_file indicates dmq_balancer, but record_file is empty"):
        amct.quantize_model("config.json", model, "modified.onnx", "record.txt")
    amct.quantize_preprocess("config.json", model, "balance.onnx", "record.txt")
    data = np.load(DATA / "dmq" / "calib.npz")
    ort.InferenceSession("balance.onnx", amct.AMCT_SO).run(None, {"input": data["input"]})
    amct.quantize_model("config.json", model, "modified.onnx", "record.txt")
    calibrate("dmq")
    found, expected = parse_record(Path("record.txt").read_text()), reference("dmq")
    assert list(found) == list(expected)
    for name, golden in expected.items():
        mine = found[name]
        factors, scales = np.float32(mine.tensor_balance_factor), np.float32(mine.scale_w)
        # Powers in float32 differ between processors, the reference's too.
        np.testing.assert_array_max_ulp(factors, np.float32(golden.tensor_balance_factor), 3)
        np.testing.assert_array_max_ulp(scales, np.float32(golden.scale_w), 4)
        assert mine.scale_d == pytest.approx(golden.scale_d, rel=1e-6), name
        assert mine.offset_d == golden.offset_d, name
    amct.save_model("modified.onnx", "record.txt", "results/dmq")


def test_factors_of_the_reference_give_its_models(folder: Path) -> None:
    configure("dmq")
    Path("record.txt").write_text((DATA / "dmq" / "record_after_preprocess.txt").read_text())
    amct.quantize_model("config.json", str(DATA / "dmq" / "float.onnx"), "modified.onnx", "record.txt")
    calibrate("dmq")
    found, expected = parse_record(Path("record.txt").read_text()), reference("dmq")
    assert {n: r.scale_w for n, r in found.items()} == {n: r.scale_w for n, r in expected.items()}
    amct.save_model("modified.onnx", str(DATA / "dmq" / "record.txt"), "results/dmq")
    assert_same_deploy_file(onnx.load("results/dmq_deploy_model.onnx"), "dmq")
