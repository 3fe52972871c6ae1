"""The golden nets through `amct_pytorch` as a user's script: configuration, calibration, record, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from amct_reference import DATA, assert_same_deploy_file, reference  # noqa: E402
from torch_nets import NETS, VARIANTS, net  # noqa: E402

import qir.compat.amct_pytorch as amct  # noqa: E402
from qir.backends.ascend.record_reader import parse_record  # noqa: E402
from qir.compat.amct_pytorch.exporting import exported  # noqa: E402
from qir.compat.amct_pytorch.modules import fake_quant_module  # noqa: E402
from qir.models import load  # noqa: E402

AXES = {"input": {0: "N"}, "output": {0: "N"}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def batches(name: str) -> list[torch.Tensor]:
    data = np.load(DATA / name / "calib.npz")["input"]
    return [torch.from_numpy(part) for part in np.split(data, 2)]


def quantize(name: str, model: torch.nn.Module) -> torch.nn.Module:
    example = (batches(name)[0],)
    if name in VARIANTS:
        cfg = str(DATA / name / "quant.cfg")
        amct.create_quant_config("config.json", model, example, config_defination=cfg)
    else:
        amct.create_quant_config("config.json", model, example, batch_num=2)
    if name == "dmq":
        Path("record.txt").write_text((DATA / name / "record_after_preprocess.txt").read_text())
    return amct.quantize_model(
        "config.json", "modified.onnx", "record.txt", model, example, ["input"], ["output"], AXES
    )


@pytest.mark.parametrize("name", [*NETS, *VARIANTS])
def test_a_script_gets_the_references_record(name: str) -> None:
    model = net(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    calibration = quantize(name, model)
    assert Path("config.json").read_text() == (DATA / name / "config.json").read_text()
    with torch.no_grad():
        for batch in batches(name):
            calibration(batch)
    found, expected = parse_record(Path("record.txt").read_text()), reference(name)
    assert list(found) == list(expected)
    for layer, golden in expected.items():
        mine = found[layer]
        assert mine.scale_w == golden.scale_w, layer
        # The same candidate (neighbours are 1/130 apart); convolution engines differ in the last bits.
        assert mine.scale_d == pytest.approx(golden.scale_d, rel=1e-6), layer
        assert mine.offset_d == golden.offset_d, layer
        assert (mine.act_type, mine.wts_type) == (golden.act_type, golden.wts_type)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [*NETS, *VARIANTS])
def test_a_script_gets_the_references_models(name: str) -> None:
    """From the reference's scales: those of our own calibration differ in the last bits."""
    model = net(name)
    quantize(name, model)
    amct.save_model("modified.onnx", str(DATA / name / "record.txt"), "results/net")
    assert_same_deploy_file(onnx.load("results/net_deploy_model.onnx"), name)
    golden = np.load(DATA / name / "test.npz")
    session = ort.InferenceSession("results/net_fake_quant_model.onnx")
    (in_onnx,) = session.run(None, {"input": golden["input"]})
    expected = golden["fake_quant_output"]
    assert np.abs(in_onnx - expected).max() <= 1e-5 * np.ptp(expected)
    graph = exported(model, (batches(name)[0],), ["input"], ["output"], AXES)
    fake = fake_quant_module(model, graph, load("results/net_fake_quant_model.onnx"))
    with torch.no_grad():
        in_torch = fake(torch.from_numpy(golden["input"])).numpy()
    assert np.abs(in_torch - in_onnx).max() <= 1e-5 * np.ptp(expected)
    assert np.abs(golden["float_output"] - in_torch).max() > 1e-3 * np.ptp(expected)
