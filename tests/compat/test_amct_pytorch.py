"""amct_pytorch beside the golden nets: odd modules, balancing, mistakes, and the automatic search."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from amct_reference import DATA, reference  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch_nets import net  # noqa: E402

import qir.compat.amct_pytorch as amct  # noqa: E402
from qir.backends.ascend.record_reader import parse_record  # noqa: E402
from qir.compat.amct_pytorch.common.auto_calibration import AutoCalibrationEvaluatorBase  # noqa: E402
from qir.compat.amct_pytorch.exporting import exported  # noqa: E402
from qir.compat.amct_pytorch.modules import fake_quant_module  # noqa: E402
from qir.models import load  # noqa: E402


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    return tmp_path


def layers() -> list[str]:
    config = json.loads(Path("config.json").read_text())
    return [name for name, item in config.items() if isinstance(item, dict)]


def flow(model: nn.Module, x: torch.Tensor, **options: object) -> nn.Module:
    """All steps on one batch; the module that computes as the fake-quant model, which it is compared with."""
    amct.create_quant_config("config.json", model, (x,), **options)
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,), ["x"])
    with torch.no_grad():
        calibration(x)
    amct.save_model("modified.onnx", "record.txt", "out/net")
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "net_deploy_model.onnx",
        "net_fake_quant_model.onnx",
    ]
    fake = fake_quant_module(model, exported(model, (x,)), load("out/net_fake_quant_model.onnx"))
    with torch.no_grad():
        mine, exact = fake(x).numpy(), model(x).numpy()
    (expected,) = ort.InferenceSession("out/net_fake_quant_model.onnx").run(None, {"x": x.numpy()})
    assert np.abs(mine - expected).max() <= 1e-5 * np.ptp(expected)
    assert 1e-4 * np.ptp(exact) < np.abs(mine - exact).max() < 0.1 * np.ptp(exact)
    return fake


class PaddedConv(nn.Conv2d):
    """A subclass that pads by itself and standardizes its weight, as many model zoos have them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, self.bias, self.stride)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own, self.norm = PaddedConv(3, 6, 2, bias=False), nn.BatchNorm2d(6)
        self.tail = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 4))
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(self.norm(self.own(x)).flatten(2).transpose(1, 2))  # Linear in three dimensions


def test_subclasses_with_a_forward_of_their_own() -> None:
    flow(Odd().eval(), torch.randn(2, 3, 5, 5))
    assert layers() == ["own", "tail.0", "tail.2"]


def test_a_skipped_layer_is_fused_all_the_same() -> None:
    fake = flow(Odd().eval(), torch.randn(2, 3, 5, 5), skip_layers=["own"])
    assert isinstance(fake.norm, nn.Identity)
    assert set(parse_record(Path("record.txt").read_text())) == {"tail.0", "tail.2"}


def filled(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


class Normalized(nn.Module):
    """Normalizations that cannot be taken out of a module, and one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.twice = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(4))
        self.shared, self.own, self.other, self.last = (filled(nn.BatchNorm2d(4)) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.a(x)).relu() + self.shared(self.b(x)).relu()
        x = self.own(self.twice(x)).relu() + self.other(self.twice(x)).relu()
        x = F.batch_norm(self.c(x), self.last.running_mean, self.last.running_var)
        return self.last(F.conv2d(x, self.b.weight))


def test_normalizations_that_modules_cannot_do_without_stay(caplog: pytest.LogCaptureFixture) -> None:
    model, x = Normalized().eval(), torch.randn(2, 4, 6, 6)
    fake = flow(model, x)
    assert layers() == ["a", "b", "c"]
    assert not any(isinstance(module, nn.Identity) for module in fake.modules())
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,), ["x"])
    (modified,) = ort.InferenceSession("modified.onnx").run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(calibration(x).numpy(), modified, rtol=1e-4, atol=1e-5)


def test_layers_of_a_transformer_are_calibrated() -> None:
    flow(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8))
    assert layers() == ["linear1", "linear2"]


def test_a_model_of_other_batches_in_one_dimension() -> None:
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 5, 2), nn.Tanh(), nn.Linear(7, 3)).eval()
    flow(net, torch.randn(2, 3, 8))
    assert layers() == ["0", "1", "3"]


def test_what_amct_does_not_quantize_stays_in_float_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.twice, self.tied = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.other, self.weight, self.rnn = nn.Linear(6, 6), nn.Parameter(torch.eye(6)), nn.GRU(6, 6)
            self.other.weight = self.tied.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.twice(self.twice(self.first(x)))
            x = F.linear(self.other(self.tied(x)), self.weight)
            return self.rnn(x[None])[0][0]

    with caplog.at_level(logging.WARNING):
        flow(Many().eval(), torch.randn(8, 6))
    assert layers() == ["first"]
    for text in ("module 'twice' runs 2 times", "'tied' shares its weight", "'other' shares its weight",
                 "no module computes it", "GRU has no integer form"):  # fmt: skip
        assert text in caplog.text


def test_channels_are_balanced_by_magnitudes_of_inputs_and_weights() -> None:
    model, x = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval(), torch.randn(16, 6)
    x = x * torch.tensor([1, 20, 1, 1, 0.1, 1])
    Path("quant.cfg").write_text("common_config { dmq_balancer { migration_strength: 0.5 } }\n")
    amct.create_quant_config("config.json", model, (x,), config_defination="quant.cfg")
    with pytest.raises(RuntimeError, match="config_file indicates dmq_balancer, but record_file is empty"):
        amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,))
    preparing = amct.quantize_preprocess("config.json", "record.txt", model, (x,))
    with torch.no_grad():
        preparing(x)
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,), ["x"])
    with torch.no_grad():
        calibrated = calibration(x)
        assert torch.allclose(calibrated, model(x), atol=0.1)
    a, w = x.abs().amax(0), model[0].weight.detach().abs().amax(0)
    found = parse_record(Path("record.txt").read_text())["0"].tensor_balance_factor
    np.testing.assert_allclose(found, (a.sqrt() / w.sqrt()).numpy(), rtol=1e-5)
    amct.save_model("modified.onnx", "record.txt", "out/net")
    fake = fake_quant_module(model, exported(model, (x,)), load("out/net_fake_quant_model.onnx"))
    (expected,) = ort.InferenceSession("out/net_fake_quant_model.onnx").run(None, {"x": x.numpy()})
    with torch.no_grad():
        assert np.abs(fake(x).numpy() - expected).max() <= 1e-5 * np.ptp(expected)


def test_too_few_batches_leave_no_scales() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    amct.create_quant_config("config.json", model, (x,), batch_num=2)
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,))
    calibration(x)
    with pytest.raises(RuntimeError, match="cannot find scale_d of layer 0 in record_file"):
        amct.save_model("modified.onnx", "record.txt", "out/net")
    calibration(2 * x)
    written = Path("record.txt").read_text()
    calibration(100 * x)  # what comes later is ignored
    assert Path("record.txt").read_text() == written


def test_spellings_of_the_modified_file() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    amct.create_quant_config("config.json", model, (x,))
    for spelling in ("modfied_onnx_file", "modified_onnx_file", "modified_onnx_model"):
        rest = {"record_file": "record.txt", "model": model, "input_data": (x,)}
        amct.quantize_model("config.json", **{spelling: f"{spelling}.onnx"}, **rest)(x)
        amct.save_model(**{spelling: f"{spelling}.onnx"}, record_file="record.txt", save_path="out/net")
    with pytest.raises(TypeError, match="missing 1 required argument"):
        amct.quantize_model("config.json", record_file="record.txt", model=model, input_data=(x,))


def test_mistakes_are_errors_of_amcts_kinds() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    with pytest.raises(TypeError, match=r"must be torch\.nn\.Module"):
        amct.create_quant_config("config.json", "model.pt", (x,))
    with pytest.raises(ValueError, match="does not exist in the graph"):
        amct.create_quant_config("config.json", model, (x,), skip_layers=["fc"])
    with pytest.raises(RuntimeError, match="is in training mode"):
        amct.create_quant_config("config.json", nn.Sequential(nn.Linear(4, 4)), (x,))
    amct.create_quant_config("config.json", model, (x,))
    calibration = amct.quantize_model("config.json", "modified.onnx", "record.txt", model, (x,))
    with pytest.raises(RuntimeError, match="following quant layers are in the model"):
        amct.create_quant_config("config.json", calibration, (x,))
    with pytest.raises(RuntimeError, match="invalid value inf or nan"):
        calibration(x * float("nan"))


class Evaluator(AutoCalibrationEvaluatorBase):
    def __init__(self, model: nn.Module, loss: float) -> None:
        data = np.load(DATA / "resid" / "test.npz")
        self.batches = np.split(np.load(DATA / "resid" / "calib.npz")["input"], 2)
        self.test, self.loss = torch.from_numpy(data["input"]), loss
        with torch.no_grad():
            self.expected = model(self.test)

    def calibration(self, model: nn.Module) -> None:
        with torch.no_grad():
            for batch in self.batches:
                model(torch.from_numpy(batch))

    def evaluate(self, model: nn.Module) -> float:
        with torch.no_grad():
            return float(F.mse_loss(model(self.test), self.expected))

    def metric_eval(self, original: float, new: float) -> tuple[bool, float]:
        return new - original <= self.loss, new - original


def search(loss: float) -> tuple[list[bool], set[str]]:
    """Whether each step satisfied, and the files that are there then. Exported for a batch of one."""
    model = net("resid")
    evaluator = Evaluator(model, loss)
    example = (evaluator.test[:1],)
    amct.create_quant_config("config.json", model, example, batch_num=2)
    amct.accuracy_based_auto_calibration(
        model, evaluator, "config.json", "record.txt", "out/net", example, ["input"], ["output"]
    )
    text = Path("amct_log/accuracy_based_auto_calibration_record.json").read_text()
    steps = json.loads("[" + text.replace("}{", "},{") + "]")
    return [step["metric_eval"][0] for step in steps], {path.name for path in Path("out").iterdir()}


def test_accuracy_based_when_all_layers_may_stay() -> None:
    steps, files = search(1.0)
    assert steps == [True]
    assert files == {
        "net_deploy_model.onnx",
        "net_fake_quant_model.onnx",
        "accuracy_based_auto_calibration_ranking_information.json",
        "accuracy_based_auto_calibration_final_config.json",
    }
    found, expected = parse_record(Path("record.txt").read_text()), reference("resid")
    assert {n: r.scale_w for n, r in found.items()} == {n: r.scale_w for n, r in expected.items()}
    for name, record in found.items():
        assert record.scale_d == pytest.approx(expected[name].scale_d, rel=1e-6)


def test_accuracy_based_when_some_layers_must_go_back() -> None:
    search(1.0)
    text = Path("amct_log/accuracy_based_auto_calibration_record.json").read_text()
    steps, files = search(json.loads(text)["metric_eval"][1] * 0.9)
    assert steps[0] is False
    assert "net_deploy_model.onnx" in files
    assert 0 < len(parse_record(Path("record.txt").read_text())) < 5


def test_accuracy_based_when_nothing_satisfies() -> None:
    _, files = search(0.0)
    assert files == {"accuracy_based_auto_calibration_ranking_information.json"}


def test_a_stranger_is_no_evaluator() -> None:
    with pytest.raises(RuntimeError, match="not inherited from base class AutoCalibrationEvaluatorBase"):
        amct.accuracy_based_auto_calibration(
            nn.Sequential(nn.Linear(1, 1)), object(), "c.json", "r.txt", "out", (torch.ones(1),)
        )
