"""PyTorch modules become graphs: same numbers, layers named by module paths, odd ones noticed or refused."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from amct_reference import DATA  # noqa: E402
from torch import nn  # noqa: E402
from torch_nets import NETS, net  # noqa: E402

import qir  # noqa: E402
from qir.frontends.torch import MODULE, RUNS  # noqa: E402
from qir.frontends.torch import export as exporting  # noqa: E402
from qir.frontends.torch.source import EXPORTER  # noqa: E402
from qir.ir.errors import ModelError  # noqa: E402
from qir.ir.graph import Graph  # noqa: E402
from qir.runtime.session import Session  # noqa: E402

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "LSTM", "GRU")


def layers(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if node.op in LAYERS]


def output(graph: Graph, **feeds: np.ndarray) -> np.ndarray:
    return next(iter(Session(graph, threads=1).run(feeds).values()))


@pytest.fixture
def dynamo() -> None:
    pytest.importorskip("onnxscript", reason="the dynamo exporter needs onnxscript")
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        pytest.skip("this torch has no dynamo exporter")


@pytest.fixture
def only_dynamo(dynamo: None, monkeypatch: pytest.MonkeyPatch) -> None:

    def fails(*args: object) -> None:
        raise RuntimeError("not traceable")

    monkeypatch.setattr(exporting, "_traced", fails)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.rest = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.ReLU(), nn.AvgPool2d(2)))
        self.steps = nn.ModuleList([nn.Linear(9, 9), nn.Linear(9, 9)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.rest(self.bn(self.conv1(x))).flatten(2)
        for step in self.steps:
            x = step(x)
        return x


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(Block())
        self.rnn = nn.LSTM(9, 5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.backbone(x))[0]


DEEP = [f"backbone.0.{n}" for n in ("conv1", "rest.0", "rest.1.1", "steps.0", "steps.1")] + ["rnn"]


@pytest.mark.parametrize("name", NETS)
def test_golden_nets_have_the_layers_of_the_references_export(name: str) -> None:
    data = np.load(DATA / name / "test.npz")
    example = torch.from_numpy(data["input"])
    graph = qir.load(net(name), example, ["input"], ["output"], {"input": {0: "N"}})
    golden = onnx.load(DATA / name / "float.onnx").graph.node
    assert [(n.name, n.op) for n in graph.nodes if n.op in (*LAYERS, "BatchNormalization")] == [
        (n.name, n.op_type) for n in golden if n.op_type in (*LAYERS, "BatchNormalization")
    ]
    np.testing.assert_allclose(output(graph, input=data["input"]), data["float_output"], rtol=1e-4, atol=1e-6)


def test_paths_of_modules_are_names_of_layers() -> None:
    model, x = Deep().eval(), torch.randn(2, 3, 8, 8)
    graph = qir.load(model, x, ["x"], ["y"])
    assert layers(graph) == DEEP
    assert graph.metadata[EXPORTER] == "TorchScript"
    assert [v.name for v in (*graph.inputs, *graph.outputs)] == ["x", "y"]
    np.testing.assert_allclose(output(graph, x=x.numpy()), model(x).detach().numpy(), atol=1e-5)


def test_the_dynamo_exporter_gives_the_same_names(only_dynamo: None) -> None:
    model, x = Deep().eval(), torch.randn(2, 3, 8, 8)
    graph = qir.load(model, x, ["x"], ["y"])
    assert layers(graph) == DEEP
    assert graph.metadata[EXPORTER] == "dynamo"
    assert "BatchNormalization" in {node.op for node in graph.nodes}
    np.testing.assert_allclose(output(graph, x=x.numpy()), model(x).detach().numpy(), atol=1e-5)


def test_arguments_come_by_name_too() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a - b

    a, b = torch.ones(3), torch.zeros(3)
    graph = qir.load(Two().eval(), {"b": b, "a": a}, ["a", "b"])
    assert output(graph, a=a.numpy(), b=b.numpy()).tolist() == [1, 1, 1]
    graph = qir.load(Two().eval(), (a, b), ["a", "b"])
    assert output(graph, a=a.numpy(), b=b.numpy()).tolist() == [1, 1, 1]


def test_defaults_of_arguments_that_are_not_given_are_no_inputs() -> None:
    class Scaled(nn.Module):
        def forward(
            self, x: torch.Tensor, scale: float = 2.0, shift: torch.Tensor | None = None, sign: int = -1
        ) -> torch.Tensor:
            return sign * (x * scale + (0 if shift is None else shift))

    model, x = Scaled().eval(), torch.ones(3)
    graph = qir.load(model, x, ["x"])
    assert output(graph, x=x.numpy()).tolist() == [-2, -2, -2]
    graph = qir.load(model, {"x": x, "shift": x}, ["x", "shift"])
    assert output(graph, x=x.numpy(), shift=x.numpy()).tolist() == [-3, -3, -3]
    assert "forward" not in vars(model)


def test_attention_of_torch_is_traced() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    x = torch.randn(2, 5, 8)
    graph = qir.load(model, x, ["x"])
    assert graph.metadata[EXPORTER] == "TorchScript"
    assert {"layers.0.linear1", "layers.0.linear2"} <= set(layers(graph))
    np.testing.assert_allclose(output(graph, x=x.numpy()), model(x).detach().numpy(), atol=1e-5)
    assert not hasattr(torch.backends, "mha") or torch.backends.mha.get_fastpath_enabled()


def test_exporters_print_nothing_when_one_fails(dynamo: None, capfd: pytest.CaptureFixture[str]) -> None:
    graph = qir.load(nn.Bilinear(3, 3, 2).eval(), (torch.randn(2, 3), torch.randn(2, 3)))
    assert graph.metadata[EXPORTER] == "dynamo"
    assert capfd.readouterr() == ("", "")


def test_equal_weights_do_not_mix_modules_up() -> None:
    """Exporters merge parameters of equal value, so that names of parameters tell nothing."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    model[2].load_state_dict(model[0].state_dict())
    assert layers(qir.load(model, torch.randn(1, 4))) == ["0", "2"]


def test_a_reused_module_has_a_node_a_run(caplog: pytest.LogCaptureFixture) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
            self.other.weight = self.fc.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other(self.fc(self.fc(x).relu()))

    with caplog.at_level(logging.WARNING):
        graph = qir.load(Twice().eval(), torch.randn(1, 4))
    assert layers(graph) == ["fc", "fc_1", "other"]
    assert [n.metadata.get(RUNS) for n in graph.nodes if MODULE in n.metadata] == ["2", "2", None]
    assert "module 'fc' has 2 layers" in caplog.text
    assert "modules 'fc', 'other' share a weight" in caplog.text


def test_a_forward_of_its_own_ends_at_the_modules_inputs() -> None:
    class Doubling(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2  # no layer at all

    model = nn.Sequential(nn.Linear(4, 4), Doubling(4, 4)).eval()
    assert layers(qir.load(model, torch.randn(1, 4))) == ["0"]


def test_hooks_do_not_stay_on_the_module() -> None:
    model = Deep().eval()
    qir.load(model, torch.randn(1, 3, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_training_mode_is_an_error_with_the_cure() -> None:
    with pytest.raises(
        ModelError, match=r"Deep is in training mode \(the module itself, .*call its eval\(\)"
    ):
        qir.load(Deep(), torch.randn(1, 3, 8, 8))
    model = Deep().eval()
    model.backbone[0].bn.train()
    with pytest.raises(ModelError, match=r"training mode \(backbone\.0\.bn\)"):
        qir.load(model, torch.randn(1, 3, 8, 8))


def test_a_module_that_does_not_run_says_why() -> None:
    with pytest.raises(ModelError, match="does not run on the example inputs: RuntimeError"):
        qir.load(Deep().eval(), torch.randn(1, 4, 8, 8))


def test_what_cannot_be_exported_is_one_short_message(only_dynamo: None) -> None:
    class Values(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(
        ModelError, match=r"TorchScript exporter says: .*dynamo exporter says: .*export it"
    ) as e:
        qir.load(Values().eval(), torch.ones(3))
    assert len(str(e.value)) < 1000


def test_a_frozen_decision_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    class Values(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.sum() > 0 else x

    with caplog.at_level(logging.WARNING):
        qir.load(Values().eval(), torch.ones(3))
    assert "tracing has frozen a value at test_torch_reader.py" in caplog.text


def test_a_module_needs_inputs_and_other_models_take_none() -> None:
    with pytest.raises(ModelError, match="needs inputs"):
        qir.load(Deep().eval())
    with pytest.raises(ModelError, match=r"go with a torch\.nn\.Module only"):
        qir.load("model.onnx", torch.ones(1))
    with pytest.raises(ModelError, match="must be a tensor"):
        qir.load(Deep().eval(), "image.png")


def test_torch_is_not_imported_unless_used() -> None:
    code = (
        f"import qir, sys; qir.load({str(DATA / 'mlp' / 'float.onnx')!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
