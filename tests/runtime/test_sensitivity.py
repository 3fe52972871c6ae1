"""Sensitivity of layers: metrics against their definitions, twins and isolated runs against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qir.backends.targets import target_named
from qir.ir.errors import CalibrationError, ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.quants import quantized_layers
from qir.passes.context import Context
from qir.passes.left_float import leave_in_float
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.runtime.data import open_data
from qir.runtime.isolated import measure_isolated
from qir.runtime.kernels import differences
from qir.runtime.metrics import METRICS, Metric, metric_named
from qir.runtime.sensitivity import measure_sensitivity
from qir.runtime.session import Session
from qir.runtime.twins import with_twins
from qir.runtime.weights import fake_quantize

F32 = npt.NDArray[np.float32]
RNG = np.random.default_rng(3)


def model() -> Graph:
    """A residual net with two Convs, a MatMul whose bias an Add carries, and two outputs."""
    return parse_graph(
        """
        graph @net(%x: f32[N,3,8,8]) {
          opsets {onnx=13}
          %a = Conv "first"(%x, %w1, %b1) {kernel_shape=[3,3], pads=[1,1,1,1]} : f32[N,4,8,8]
          %r = Relu "act"(%a) : f32[N,4,8,8]
          %c = Conv "second"(%r, %w2) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %s = Add "sum"(%c, %r) : f32[N,4,8,8]
          %m = MatMul "dense"(%s, %w3) : f32[N,4,8,5]
          %y = Add "bias"(%m, %b3) : f32[N,4,8,5]
          return %y, %s
        }
        """.replace("opsets {onnx=13}", "opsets {onnx=13}\n" + _constants()),
        "test",
    )


def _constants() -> str:
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 1, 1), "w3": (8, 5), "b3": (5,)}
    lines = []
    for name, shape in shapes.items():
        numbers = ",".join(repr(float(v)) for v in RNG.normal(size=int(np.prod(shape))).astype(np.float32))
        lines.append(f"%{name} = const [{numbers}] : f32[{','.join(map(str, shape))}]")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def data() -> dict[str, F32]:
    return {"x": RNG.normal(size=(3, 3, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def closed(data: dict[str, F32]) -> Graph:
    graph = model()
    target = target_named("ascend")
    context = Context(data=open_data(data, graph), rules=target.rules)
    PassManager(parse_pipeline("default", named=target.pipelines)).run(graph, context)
    return graph


def only_quantized(graph: Graph, name: str) -> Graph:
    """The graph in which all layers but one compute in float."""
    copy = graph.clone()
    for layer in quantized_layers(copy):
        if layer.name != name:
            leave_in_float(layer, "test")
    return copy


def by_hand(graph: Graph, feeds: dict[str, F32], layer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs of the float model, and with one layer's operands fake-quantized in numpy."""
    single = only_quantized(graph, layer)
    reference = Session(single, taps=[v.name for v in single.node(layer).inputs if v is not None], threads=1)
    values = reference.run(feeds)
    node = single.node(layer)
    operand = node.inputs[0]
    assert operand is not None
    params = operand.tensor.quant
    rounded = fake_quantize(values[operand.name], params)  # type: ignore[arg-type]
    changed = single.clone()
    for quant in [n for n in changed.nodes if n.op == "quant"]:
        source = quant.inputs[0]
        assert source is not None
        if source.constant is not None:
            fake = fake_quantize(source.constant.array, quant.output.tensor.quant)  # type: ignore[arg-type]
            changed.replace(quant.output, changed.constant(fake, f"{source.name}.f"))
        else:
            changed.replace(quant.output, changed.add_input("rounded", source.type))
        changed.erase(quant)
    found = Session(changed, threads=1).run({**feeds, "rounded": rounded}, [v.name for v in changed.outputs])
    return {n: values[n] for n in found}, found


def test_isolated_scores_are_those_of_the_model_with_one_layer_quantized(
    closed: Graph, data: dict[str, F32]
) -> None:
    metric = metric_named("mse")
    found = measure_isolated(closed, open_data(data, closed), metric, samples=3)
    assert list(found.scores) == ["first", "second", "dense"]
    for layer, score in found.scores.items():
        expected = []
        for i in range(3):
            before, after = by_hand(closed, {"x": data["x"][i : i + 1]}, layer)
            expected.append(max(metric.compare(before[n], after[n]) for n in before))
        assert score == pytest.approx(np.mean(expected), rel=1e-3), layer
        assert score > 0


def test_twins_read_the_float_input_of_their_layer(closed: Graph, data: dict[str, F32]) -> None:
    metric = metric_named("sqnr")
    found = measure_sensitivity(closed, open_data(data, closed), metric)
    assert found.samples == 3
    single = {"first": "a", "second": "c", "dense": "y"}
    for layer, result in single.items():
        expected = []
        for i in range(3):
            copy = only_quantized(closed, layer)
            copy.add_output(copy.value(result))
            before, after = by_hand(copy, {"x": data["x"][i : i + 1]}, layer)
            expected.append(metric.compare(before[result], after[result]))
        assert found.scores[layer] == pytest.approx(np.mean(expected), rel=1e-3), layer


def test_the_graph_is_left_as_it_is_and_the_order_of_data_is_no_matter(
    closed: Graph, data: dict[str, F32]
) -> None:
    before = str(closed)
    feeds = [{"x": data["x"][i : i + 1]} for i in range(3)]
    metric = metric_named("cosine-similarity")
    found = [measure_sensitivity(closed, open_data(d, closed), metric) for d in (data, feeds)]
    assert found[0].scores == found[1].scores
    assert str(closed) == before


def test_the_ranking_begins_with_the_worst_in_either_direction(closed: Graph, data: dict[str, F32]) -> None:
    source = open_data(data, closed)
    low = measure_sensitivity(closed, source, metric_named("sqnr")).ranking()
    high = measure_sensitivity(closed, source, metric_named("mre")).ranking()
    assert [score for _, score in low] == sorted(score for _, score in low)
    assert [score for _, score in high] == sorted((score for _, score in high), reverse=True)


def test_a_metric_of_the_user(closed: Graph, data: dict[str, F32]) -> None:
    class Largest(Metric):
        name = "largest"
        low_is_worse = False

        def compare(self, data: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
            return float(np.abs(data - other).max())

    source = open_data(data, closed)
    found = measure_sensitivity(closed, source, Largest())
    assert found.scores == pytest.approx(
        measure_sensitivity(closed, source, metric_named("chebyshev")).scores
    )


def test_open_quants_and_samples_that_are_not_finite(closed: Graph, data: dict[str, F32]) -> None:
    graph = model()
    target = target_named("ascend")
    context = Context(data=open_data(data, graph), rules=target.rules)
    PassManager(parse_pipeline("infer-types,insert-quant", named=target.pipelines)).run(graph, context)
    with pytest.raises(PassError, match=r"'x\.q', read by 'first', has no scale yet; run calibrate"):
        with_twins(graph)
    bad = {"x": data["x"].copy()}
    bad["x"][1, 0, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match=r"sample 1: layer 'first' \(Conv\) gives values that are not"):
        measure_sensitivity(closed, open_data(bad, closed), metric_named("sqnr"))


@given(st.integers(0, 1100), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_sums_equal_numpy(size: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(0, 100, (2, size)).astype(np.float32)
    x, y = a.astype(np.float64), b.astype(np.float64)
    d = np.abs(x - y)
    products, found = np.empty(differences.PRODUCTS), np.empty(differences.DIFFERENCES)
    differences.sum_products(a, b, products)
    differences.sum_differences(a, b, found)
    assert products == pytest.approx([x @ x, y @ y, x @ y], rel=1e-11, abs=1e-300)
    expected = [x @ x, d @ d, d.sum(), np.abs(x).sum(), d.max(initial=0)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("place", [0, 300, 1023, 1030])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_do_not_get_lost(place: int, value: float) -> None:
    a = np.ones(1031, np.float32)
    b = a.copy()
    b[place] = value
    for metric in METRICS:
        score = metric.compare(a, b)
        assert math.isnan(score) if math.isnan(value) else not math.isfinite(score), metric.name


def test_metrics_by_their_definitions() -> None:
    a, b = np.asarray([3, 4, 0], np.float32), np.asarray([3, 0, 4], np.float32)
    expected = {
        "cosine-similarity": 9 / 25,
        "sqnr": 10 * math.log10(25 / 32),
        "mse": 32 / 3,
        "mae": 8 / 3,
        "mre": 8 / 7,
        "chebyshev": 4.0,
    }
    for name, value in expected.items():
        assert metric_named(name).compare(a, b) == pytest.approx(value, rel=1e-12), name
    zeros = np.zeros(3, np.float32)
    assert metric_named("cosine-similarity").compare(a, zeros) == 0
    assert metric_named("cosine-similarity").compare(zeros, a) == 1
    assert metric_named("mre").compare(zeros, a) == math.inf
    for metric in METRICS:
        worst = metric.compare(a, -a)
        best = metric.compare(a, a)
        assert (best > worst) if metric.low_is_worse else (best < worst), metric.name
        assert math.isnan(metric.compare(a, np.asarray([np.nan, 0, 0], np.float32))), metric.name


def test_kl_grows_with_the_distance_of_the_distributions() -> None:
    values = RNG.normal(size=10_000).astype(np.float32)
    kl = metric_named("kl")
    near, far = kl.compare(values, values + np.float32(0.01)), kl.compare(values, values + np.float32(1))
    assert 0 <= near < far


def test_an_unknown_metric_comes_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"there is no metric 'cosine'.*did you mean 'cosine-similarity'"):
        metric_named("cosine")


def branches() -> Graph:
    """A net whose layers are read in many ways: twice, by an output, across the whole net, or by nobody."""
    return parse_graph(
        """
        graph @net(%x: f32[N,4,8,8]) {
          opsets {onnx=13}
          CONSTANTS
          %a = Conv "a"(%x, %w1) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %b = Conv "b"(%a, %w2) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %r = Relu "r"(%b) : f32[N,4,8,8]
          %c = Conv "c"(%x, %w2) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %s = Add "s"(%r, %c) : f32[N,4,8,8]
          %d = Conv "d"(%s, %w1) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %t = Add "t"(%d, %a) : f32[N,4,8,8]
          %unread = Conv "unread"(%t, %w2) {kernel_shape=[1,1]} : f32[N,4,8,8]
          %e = Conv "e"(%t, %w2) {kernel_shape=[1,1]} : f32[N,4,8,8]
          return %e, %b, %d
        }
        """.replace("CONSTANTS", _square_constants()),
        "test",
    )


def _square_constants() -> str:
    rng = np.random.default_rng(8)
    numbers = (",".join(map(repr, rng.normal(size=16).astype(np.float32).tolist())) for _ in range(2))
    return "\n".join(f"%w{i} = const [{text}] : f32[4,4,1,1]" for i, text in enumerate(numbers, 1))


@pytest.mark.parametrize("segments", [1, 3, 100])
def test_isolated_scores_do_not_depend_on_where_the_model_is_cut(
    segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = branches()
    data = {"x": RNG.normal(size=(2, 4, 8, 8)).astype(np.float32)}
    target = target_named("ascend")
    context = Context(data=open_data(data, graph), rules=target.rules)
    passes = parse_pipeline("infer-types,insert-quant,quantize-weights,calibrate", named=target.pipelines)
    PassManager(passes).run(graph, context)
    monkeypatch.setattr("qir.runtime.group_effects.SEGMENTS", segments)
    metric = metric_named("mse")
    found = measure_isolated(graph, open_data(data, graph), metric, samples=2)
    assert set(found.scores) == {"a", "b", "c", "d", "e", "unread"}
    assert found.scores["unread"] == 0
    for layer in set(found.scores) - {"unread"}:
        worst = []
        for i in range(2):
            before, after = by_hand(graph, {"x": data["x"][i : i + 1]}, layer)
            worst.append(max(metric.compare(before[n], after[n]) for n in before))
        assert found.scores[layer] == pytest.approx(np.mean(worst), rel=1e-3), layer
