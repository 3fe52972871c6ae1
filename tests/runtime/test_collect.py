"""Collecting statistics: right numbers, the same bits in every split, the first bad sample named."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from small_graphs import conv_net, elementwise, images

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.types import QuantSpec, TensorType, tensor
from qir.runtime import collect as collect_module
from qir.runtime import measured as measured_module
from qir.runtime.chain import Chain
from qir.runtime.collect import Taps, collect
from qir.runtime.data import open_data
from qir.runtime.progress import SilentTask
from qir.runtime.session import Session
from qir.runtime.statistics import TensorStatistics
from qir.runtime.workers import POOL

X = images(40)


def collected(
    source: object, graph: Graph, names: list[str], workers: int | None = None
) -> dict[str, TensorStatistics]:
    taps = Taps(graph, tuple(graph.value(name) for name in names))
    return collect(taps, open_data(source, graph), workers=workers).tensors  # type: ignore[arg-type]


def test_statistics_are_those_of_the_tensors() -> None:
    graph = conv_net()
    found = collected({"x": X}, graph, ["r", "x", "c1"])
    session = Session(graph, taps=["c1", "r"], threads=1)
    expected = {name: TensorStatistics() for name in ("x", "c1", "r")}
    for i in range(40):
        tensors = session.run({"x": X[i : i + 1]})
        for name, array in {"x": X[i], "c1": tensors["c1"], "r": tensors["r"]}.items():
            expected[name].update(array, sample=i)
    assert found == expected
    assert found["x"].count == X.size
    assert found["x"].maximum == X.max()
    assert found["r"].minimum == 0


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_no_bit_depends_on_batches_or_workers(workers: int, batch: int) -> None:
    graph = conv_net()
    names = ["x", "c1", "r", "c2"]
    expected = collected({"x": X}, graph, names, workers=1)
    feeds = [{"x": X[i : i + batch]} for i in range(0, 40, batch)]
    assert collected(feeds, graph, names, workers) == expected


def test_nor_on_where_the_samples_lie_in_memory() -> None:
    graph = elementwise("ReduceSum", shape=("N", 1027))
    x = np.random.default_rng(3).normal(size=(8, 1027)).astype(np.float32)
    base = np.zeros(8 * 1027 + 16, np.float32)
    found = []
    for start in range(8):
        view = base[start : start + x.size].reshape(x.shape)
        view[...] = x
        found.append(collected({"x": view}, graph, ["y"]))
    assert all(other == found[0] for other in found)


def test_a_quant_is_measured_as_the_float_value_behind_it() -> None:
    graph = conv_net()
    expected = collected({"x": X}, graph, ["r"])
    quant = graph.add(
        "quant", [graph.value("r")], outputs=["r.q"], domain="qir", before=graph.node("conv2"),
        types=[TensorType(DType.F32, None, QuantSpec(DType.I8, False))],
    )  # fmt: skip
    graph.node("conv2").set_input(0, quant.output)
    assert collected({"x": X}, graph, ["r.q"])["r.q"] == expected["r"]


def test_float16_and_empty_tensors() -> None:
    half = elementwise("Relu", DType.F16)
    found = collected({"x": np.array([[-1, 2, 3, 4]], np.float16)}, half, ["x", "y"])
    assert (found["x"].minimum, found["y"].minimum, found["y"].maximum) == (-1, 0, 4)
    graph = elementwise("Relu", shape=("N", "L"))
    feeds = [{"x": np.zeros((1, 0), np.float32)}, {"x": np.ones((1, 3), np.float32)}]
    assert collected(feeds, graph, ["y"])["y"].count == 3


def test_tensors_that_cannot_be_calibrated() -> None:
    graph = elementwise("Abs", DType.I64)
    graph.value("y").type = tensor(DType.I64, ["N", 4])
    with pytest.raises(CalibrationError, match=r"tensor 'y', made by node 'abs1' \(Abs\), is i64"):
        collected({"x": np.ones((2, 4), np.int64)}, graph, ["y"])
    with pytest.raises(CalibrationError, match=r"made by node 'abs1' \(Abs\), is int64"):
        collected({"x": np.ones((2, 4), np.int64)}, elementwise("Abs", DType.I64), ["y"])
    with pytest.raises(CalibrationError, match="'w1' is a constant"):
        collected({"x": X}, conv_net(), ["w1"])


def test_nothing_to_measure() -> None:
    assert collected({"x": X}, conv_net(), []) == {}


def log_net() -> Graph:
    """x -> Relu "first" -> Log "second": NaN-free inputs give -inf in the second."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    relu = graph.add("Relu", [x], outputs=["a"], name="first")
    graph.add_output(graph.add("Log", [relu.output], outputs=["b"], name="second").output)
    return graph


@pytest.mark.parametrize("workers", [1, 4])
def test_the_first_sample_that_is_not_finite(workers: int) -> None:
    x = np.ones((50, 4), np.float32)
    x[[17, 18, 30, 31, 32], 1] = 0
    x[17, 2] = 0
    feeds = [{"x": x[i : i + 5]} for i in range(0, 50, 5)]
    message = (
        r"sample 17 \(row 2 of feed 3\): tensor 'b', made by node 'second' \(Log\), is not finite though the "
        r"inputs are: 2 of 4 values are NaN or infinite; leave what reads it in float, or repair"
    )
    with pytest.raises(CalibrationError, match=message):
        collected(feeds, log_net(), ["b", "a"], workers)


def test_layers_that_read_what_is_not_finite_are_named() -> None:
    graph = log_net()
    kind = tensor(DType.F32, ["N", 4]).with_quant(QuantSpec(DType.I8))
    quant = graph.add("quant", [graph.value("b")], domain="qir", types=[kind])
    for name in ("fc1", "fc2"):
        graph.add("Relu", [quant.output], name=name)
    with pytest.raises(CalibrationError, match=r"leave what reads it in float \('fc1', 'fc2'\)"):
        collected([{"x": np.zeros((1, 4), np.float32)}], graph, [quant.output.name])


def test_data_that_are_not_finite() -> None:
    x = np.ones((20, 4), np.float32)
    x[11, 1:3] = np.nan
    message = r"sample 11: input 'x' holds 2 of 4 values that are NaN or infinite"
    with pytest.raises(CalibrationError, match=message + r" \(noticed in tensor 'b', made by node"):
        collected({"x": x}, log_net(), ["b"])
    with pytest.raises(CalibrationError, match=message + "; repair"):
        collected({"x": x}, log_net(), ["b", "x"])


def test_a_slip_in_the_data_does_not_hide_an_earlier_sample() -> None:
    x = np.ones((20, 4), np.float32)
    x[5] = 0

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for i in range(6):
            yield {"x": x[i : i + 1]}
        raise OSError("disk gone")

    with pytest.raises(CalibrationError, match="sample 5: tensor 'b'"):
        collected(feeds(), log_net(), ["b"], workers=4)


class Recorder(SilentTask):
    """Writes down the task and its steps."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.steps = 0

    def task(self, label: str, total: int | None) -> Recorder:
        self.tasks.append((label, total))
        return self

    def advance(self, count: int = 1) -> None:
        self.steps += count


def test_progress_counts_samples() -> None:
    graph, recorder = conv_net(), Recorder()
    collect(Taps(graph, (graph.value("r"),)), open_data([{"x": X[:25]}, {"x": X[25:]}], graph), recorder)
    assert (recorder.tasks, recorder.steps) == ([("calibrate", 40)], 40)


def test_ctrl_c_stops_the_runs_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, stopped, stop = conv_net(), [], Chain.stop

    def noted(chain: Chain) -> None:
        stopped.append(chain)
        stop(chain)

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for i in range(40):
            if i == 20:
                raise KeyboardInterrupt
            yield {"x": X[i : i + 1]}

    monkeypatch.setattr(Chain, "stop", noted)
    with pytest.raises(KeyboardInterrupt):
        collected(feeds(), graph, ["r"], workers=4)
    assert len(stopped) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(f"{POOL}_")]


def test_statistics_are_per_worker_not_per_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, made = conv_net(), []

    class Counted(TensorStatistics):
        def __init__(self, *, raw: bool = False) -> None:
            made.append(self)
            super().__init__(raw=raw)

    monkeypatch.setattr(measured_module, "TensorStatistics", Counted)
    collected({"x": X}, graph, ["r"], workers=2)
    assert len(made) <= 2


def test_workers_are_bounded_by_the_memory_of_their_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, used = conv_net(), []
    mapped = collect_module.ordered_map

    def watched(function, items, workers, stop):  # type: ignore[no-untyped-def]
        used.append(workers)
        return mapped(function, items, workers, stop)

    monkeypatch.setattr(collect_module, "ordered_map", watched)
    one_unit = 4 * 8 * 6 * 6  # of r; x is there before
    for limit in (one_unit - 1, one_unit * 2, one_unit * 9):
        monkeypatch.setattr(collect_module, "_TAPPED_BYTES", limit)
        collected({"x": X}, graph, ["r", "x"], workers=4)
    assert used == [1, 2, 4]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_optional_value_that_is_not_finite_is_a_problem_of_its_own(workers: int) -> None:
    graph, x = log_net(), np.ones((20, 4), np.float32)
    x[[7, 4, 12], 1] = 0
    values = (graph.value("a"), graph.value("b"))
    data = open_data([{"x": x[i : i + 2]} for i in range(0, 20, 2)], graph)
    taps = collect_module.Taps(graph, values, frozenset({"b"}), layers={"b": ("fc7",)})
    measured = collect_module.collect(taps, data, workers=workers)
    assert list(measured.tensors) == ["a"]
    assert measured.tensors["a"].sample_ranges[0].tolist() == list(range(20))
    problem = measured.problems["b"]
    assert problem.unit == 4
    assert problem.message.startswith("sample 4 (row 0 of feed 2): tensor 'b', made by node 'second' (Log),")
    assert "leave what reads it in float ('fc7')" in problem.message
    with pytest.raises(CalibrationError, match=r"sample 4 .*'b'"):
        collect_module.collect(collect_module.Taps(graph, values, frozenset({"a"})), data, workers=workers)


def test_a_sample_that_does_not_run_is_named_with_its_shapes() -> None:
    graph = parse_graph(
        "graph @g(%a: f32[N,4], %b: f32[N,4]) { opsets {onnx=17} "
        '%s = Add "add"(%a, %b) : f32[N,4] return %s }'
    )
    ones = np.ones((3, 4), np.float32)
    feeds = [{"a": ones[:1], "b": ones[:1]}, {"a": ones[:2], "b": ones}]
    with pytest.raises(
        CalibrationError, match=r"sample 1: node 'add' .*; its inputs are 'a' \[2, 4\], 'b' \[3, 4\]$"
    ):
        collected(feeds, graph, ["s"])
