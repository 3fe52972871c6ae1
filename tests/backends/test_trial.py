"""Made-up inputs, the comparison of runs, and opening a written file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from nets import Net, many_layers

import qir
from qir.backends import files
from qir.backends.trial import Difference, compare_runs, largest_difference, made_up_feeds
from qir.frontends.onnx import save_model
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError, QirError
from qir.ir.graph import Graph
from qir.ir.types import UNKNOWN, SequenceType, tensor
from qir.runtime.run_file import ModelFile


def test_made_up_feeds_fit_the_types() -> None:
    graph = Graph("g", {"": 13})
    graph.add_input("x", tensor(DType.F16, ("N", 3)))
    graph.add_input("ids", tensor(DType.I64, (2, None)))
    graph.add_input("names", tensor(DType.STR, (2,)))
    feeds = made_up_feeds(graph)
    assert feeds is not None
    assert {n: (a.dtype.name, a.shape) for n, a in feeds.items()} == {
        "x": ("float16", (1, 3)), "ids": ("int64", (2, 1)), "names": ("object", (2,)),
    }  # fmt: skip
    assert np.array_equal(feeds["x"], made_up_feeds(graph)["x"])
    for kind in (UNKNOWN, SequenceType(tensor(DType.F32, (1,))), tensor(DType.BF16, (1,))):
        other = graph.clone()
        other.add_input("odd", kind)
        assert made_up_feeds(other) is None


@pytest.mark.parametrize(
    ("old", "new", "relative"),
    [
        (np.float32([0, 10]), np.float32([0, 10]), 0.0),
        (np.float32([0, 10]), np.float32([1, 10]), 0.1),
        (np.float32([np.nan, np.inf, 10]), np.float32([np.nan, np.inf, 9]), 0.1),
        (np.float32([np.nan, 1]), np.float32([1, np.nan]), np.inf),
        (np.float32([1, 2]), np.float32([[1, 2]]), np.inf),
        (np.float32([1, 2]), np.float64([1, 2]), np.inf),
        (np.int64([1, 2]), np.int64([1, 3]), np.inf),
        ([np.float32([0, 10]), np.float32([0])], [np.float32([1, 10]), np.float32([0])], 0.1),
        ([np.float32([0, 10])], [], np.inf),
        ([], [], 0.0),
        ([{1: 10.0, 2: 0.5}], [{1: 9.0, 2: 0.5}], 0.1),
        ({1: 10.0}, {2: 10.0}, np.inf),
        ({1: 10.0}, np.float32([10]), np.inf),
        (None, None, 0.0),
    ],
)
def test_differences(old: object, new: object, relative: float) -> None:
    found = largest_difference({"same": np.float32([1]), "y": old}, {"same": np.float32([1]), "y": new})
    assert found.relative == pytest.approx(relative)
    assert found.name == ("y" if relative else "")


def test_graphs_are_compared_by_running_them(caplog: pytest.LogCaptureFixture) -> None:
    graph = many_layers().graph
    changed = graph.clone()
    changed.node("stem").set_input(2, changed.constant(np.zeros(4, np.float32), "zeros"))
    assert compare_runs(graph, graph.clone()) == Difference("", 0.0)
    difference = compare_runs(graph, changed)
    assert difference is not None
    assert difference.name == "bias_out"
    assert difference.relative > 0.01
    net = Net()
    net.graph.add_output(net.add("FooBar", "foo", [net.input(3)], None))
    with caplog.at_level(logging.WARNING):
        assert compare_runs(net.graph, net.graph) is None
    assert "was not checked" in caplog.text
    with pytest.raises(QirError):
        compare_runs(net.graph, net.graph, {"x": np.ones(3, np.float32)})


def test_opening_files(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"cannot load 'bad\.onnx'"):
        ModelFile(tmp_path / "bad.onnx")
    save_model(many_layers().graph, tmp_path / "good.onnx")
    with pytest.raises(ModelError, match=r"cannot run 'good\.onnx'"):
        ModelFile(tmp_path / "good.onnx").run({"x": np.ones((1, 5, 8, 8), np.float32)})


@pytest.mark.parametrize(
    ("target", "remedy"), [("ascend", "write form 'ascend'"), ("qdq", "give weights 7 bits")]
)
def test_what_helps_against_saturation_is_there_on_the_target(
    target: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(files, "largest_difference", lambda *_: Difference("output", 0.5))
    data = {"input": np.zeros((1, 1, 16, 16), np.float32)}
    with caplog.at_level(logging.WARNING):
        qir.quantize("sample:digits", data, output=tmp_path / "d", target=target, form="qdq", proof_samples=0)
    (said,) = [record.getMessage() for record in caplog.records if "saturates" in record.getMessage()]
    assert f"where you run it, or {remedy}" in said
