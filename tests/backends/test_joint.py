"""Two graphs in one: shared inputs and constants, and what is said of their values."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from nets import many_layers, samples

from qir.backends import joint_run
from qir.backends.ascend import deploy
from qir.backends.fake_quant import lower
from qir.backends.joint import Compared, Joint
from qir.backends.proof import prove
from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.types import TensorType
from qir.runtime.session import Session

X = np.arange(6, dtype=np.float32).reshape(2, 3)
WEIGHT = np.arange(60, dtype=np.float32).reshape(3, 20)


def scaled(factor: float, other: str) -> Graph:
    """y = factor * x and z = (other * y) @ WEIGHT."""
    graph = Graph("scaled", {"": 13})
    x = graph.add_input("x", TensorType(DType.F32, (2, 3)))
    own = graph.add_input(other, TensorType(DType.F32, ()))
    y = graph.add("Mul", [x, graph.constant(np.float32(factor), "factor")], outputs=["y"]).output
    y.type = x.type
    z = graph.add("MatMul", [graph.add("Mul", [y, own]).output, graph.constant(WEIGHT, "w")], outputs=["z"])
    z.output.type = TensorType(DType.F32, (2, 20))
    graph.add_output(y)
    graph.add_output(z.output)
    return graph


def run(first: Graph, second: Graph, pair: Compared) -> tuple[Joint, dict[str, np.ndarray]]:
    joint = Joint(first, second, [pair])
    feeds = {"x": X, "a": np.ones((), np.float32), joint.inputs["b"]: np.ones((), np.float32)}
    return joint, Session(joint.graph, optimize=False).run(feeds)


@pytest.mark.parametrize(("factor", "different", "largest"), [(2, 0, 0), (3, 5, 5)])
def test_differences_are_counted(factor: float, different: int, largest: float) -> None:
    pair = Compared("y", "y", counted=True, kind=DType.I8)
    joint, found = run(scaled(2, "a"), scaled(factor, "b"), pair)
    difference = joint.differences[0]
    assert (found[difference.total] == 0) == (different == 0)
    assert difference.counted is not None
    assert [found[name].item() for name in difference.counted] == [different, largest]
    assert [found[name].tolist() for name in difference.shapes] == [[2, 3], [2, 3]]
    assert found[difference.integers or ""].dtype == np.int8
    assert np.array_equal(found[difference.integers or ""], 2 * X)
    assert np.array_equal(found["y"], 2 * X)
    assert np.array_equal(found[joint.outputs["y"]], factor * X)
    assert np.array_equal(found[joint.outputs["z"]], factor * X @ WEIGHT)


def test_what_is_missing_is_added_in_float64() -> None:
    pair = Compared("y", "y", added=np.float64(2**40) * np.ones((1, 3)), counted=True)
    joint, found = run(scaled(2, "a"), scaled(2, "b"), pair)
    assert joint.differences[0].counted is not None
    assert found[joint.differences[0].counted[1]].item() == 2**40


def test_equal_constants_are_there_once() -> None:
    joint = Joint(scaled(2, "a"), scaled(3, "b"), [])
    assert sorted(v.name for v in joint.graph.constants) == ["deploy/factor", "factor", "w"]
    assert [v.name for v in joint.graph.inputs] == ["x", "a", "deploy/b"]


@pytest.mark.parametrize("opset", [9, 13])
def test_a_proof_runs_both_graphs_as_one(opset: int, caplog: pytest.LogCaptureFixture) -> None:
    graph = many_layers(opset).quantized()
    with caplog.at_level(logging.INFO):
        prove(lower(graph), deploy.lower(graph), [samples(2, seed=0)])
    assert "as one" not in caplog.text


@pytest.mark.parametrize("place", ["__init__", "run"])
def test_graphs_that_do_not_run_as_one_are_compared_apart(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Session):
        """ONNX Runtime refuses the joint graph."""

    def refuse(*_: object, **__: object) -> None:
        raise QirError("refused")

    graph = many_layers().quantized()
    feeds = [samples(2, seed=0)]
    expected = prove(lower(graph), deploy.lower(graph), feeds)
    monkeypatch.setattr(joint_run, "Session", Broken)
    monkeypatch.setattr(Broken, place, refuse)
    with caplog.at_level(logging.INFO):
        assert prove(lower(graph), deploy.lower(graph), feeds) == expected
    assert "as one: refused" in caplog.text
