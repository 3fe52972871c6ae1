"""Raising the opset: names, quants, weights, metadata and numbers stay; what cannot be raised is said."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Net, many_layers, samples

import qir
from qir.backends import fake_quant
from qir.backends.ascend import deploy
from qir.backends.ascend.check import check
from qir.backends.fake_quant import opset
from qir.backends.fake_quant.opset import raise_opset
from qir.backends.trial import Difference
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.runtime.session import Session


def old_net() -> Net:
    """Opset 9, with ops whose form changed since: Clip, Squeeze, Upsample, Softmax, Dropout."""
    net = Net(9)
    x = net.input("N", 3, 8, 8)
    conv = net.add(
        "Conv", "conv", [x, net.weight("w", 16, 3, 5, 5)], ("N", 16, 4, 4)
    )  # above the size that is hidden
    clip = net.add("Clip", "clip", [conv], ("N", 16, 4, 4), {"min": 0.0, "max": 6.0})
    up = net.add(
        "Upsample", "up", [clip, net.graph.constant(np.float32([1, 1, 2, 2]), "sizes")], ("N", 16, 8, 8)
    )
    more = net.add("Unsqueeze", "more", [up], (1, "N", 16, 8, 8), {"axes": (0,)})
    less = net.add("Squeeze", "less", [more], ("N", 16, 8, 8), {"axes": (0,)})
    soft = net.add("Softmax", "soft", [less], ("N", 16, 8, 8), {"axis": 1})
    last = net.add("Conv", "last", [soft, net.weight("v", 2, 16, 1, 1)], ("N", 2, 8, 8))
    net.graph.add_output(last)
    return net


@pytest.mark.parametrize("version", [13, 21])
def test_everything_survives(version: int) -> None:
    graph = old_net().quantized()
    graph.node("conv").metadata["qir.fused"] = '["bn"]'
    graph.metadata["author"] = "me"
    before = str(graph)
    raised = raise_opset(graph, version)
    assert str(graph) == before
    assert raised.opsets == {"": version}
    assert [v.name for v in raised.inputs] == ["x"]
    assert [v.name for v in raised.outputs] == ["last_out"]
    assert {n.name for n in graph.nodes} - {n.name for n in raised.nodes} == {"up"}  # replaced by a Resize
    assert [n.name for n in quantized_layers(raised)] == ["conv", "last"]
    for layer in quantized_layers(raised):
        for old, new in zip(graph.node(layer.name).inputs, layer.inputs, strict=True):
            assert (old.name, old.type.quant) == (new.name, new.type.quant)
    assert np.array_equal(raised.value("w").constant.array, graph.value("w").constant.array)
    assert raised.node("conv").metadata == {"qir.fused": '["bn"]'}
    assert raised.metadata["author"] == "me"
    feeds = samples(2, 3, 8, 8)
    (expected,), (found,) = (Session(g, threads=1).run(feeds).values() for g in (graph, raised))
    assert np.abs(expected - found).max() < 1e-5


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("op", "version", "scales"),
    [
        ("Upsample", 9, (1.5, 2.3)),
        ("Upsample", 9, (2, 2)),
        ("Resize", 10, (0.6, 0.4)),
        ("Resize", 10, (3, 1)),
    ],
)
def test_resizing_stays_as_it_was(mode: str, op: str, version: int, scales: tuple[float, float]) -> None:
    net = Net(version)
    factors = net.graph.constant(np.float32([1, 1, *scales]), "factors")
    resized = net.add(op, "resized", [net.input("N", 3, 8, 8), factors], ("N", 3, None, None), {"mode": mode})
    net.graph.add_output(net.add("Neg", "last", [resized], ("N", 3, None, None)))
    feeds = samples(2, 3, 8, 8)
    raised = raise_opset(net.graph, 13, feeds)
    (expected,), (found,) = (Session(g, threads=1).run(feeds).values() for g in (net.graph, raised))
    assert expected.shape == found.shape
    assert np.abs(expected - found).max() < 1e-6


def test_high_enough_is_a_copy() -> None:
    graph = many_layers(13).quantized()
    raised = raise_opset(graph, 13)
    assert raised is not graph
    assert str(raised) == str(graph)


def test_an_op_that_cannot_be_raised() -> None:
    net = Net(8)
    net.graph.add_output(net.add("FooBar", "foo", [net.input("N", 4)], None))
    with pytest.raises(BackendError, match=r"opset 8 cannot be raised to 13.*FooBar.*write form 'ascend'"):
        raise_opset(net.graph, 13)


def test_numbers_that_move_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opset, "compare_runs", lambda *graphs: Difference("last_out", 0.1))
    with pytest.raises(BackendError, match=r"output 'last_out' moves by 1.0e-01 of its range"):
        raise_opset(old_net().quantized(), 13)


def seventh() -> Graph:
    """Opset 7, which ATC does not know; Upsample has its factors in an attribute there."""
    net = Net(7)
    conv = net.add("Conv", "conv", [net.input("N", 3, 8, 8), net.weight("w", 4, 3, 1, 1)], ("N", 4, 8, 8))
    attributes = {"mode": "nearest", "scales": (1.0, 1.0, 2.0, 2.0)}
    up = net.add("Upsample", "up", [conv], ("N", 4, 16, 16), attributes)
    net.graph.add_output(net.add("Conv", "last", [up, net.weight("v", 2, 4, 1, 1)], ("N", 2, 16, 16)))
    return net.quantized()


def test_a_deploy_graph_gets_an_opset_that_atc_knows() -> None:
    graph = seventh()
    deployed = deploy.lower(graph)
    assert (graph.opsets, deployed.opsets) == ({"": 7}, {"": 13})
    assert [f for f in check(deployed) if f.rule == "opset"] == []
    feeds = samples(2, 3, 8, 8)
    (expected,) = Session(fake_quant.lower(graph), threads=1).run(feeds).values()
    (found,) = qir.DeploySession(deployed).run(None, dict(feeds))
    assert np.array_equal(expected, found)


def test_a_deploy_graph_that_cannot_be_raised_keeps_its_opset(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise BackendError("no adapter")

    monkeypatch.setattr("qir.backends.ascend.deploy.raise_opset", fail)
    deployed = deploy.lower(seventh())
    assert deployed.opsets == {"": 7}
    assert [f.severity for f in check(deployed) if f.rule == "opset"] == ["error"]
    assert "keeps its opset, which ATC does not know: no adapter" in caplog.text
