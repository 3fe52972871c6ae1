"""equalize-layers by numbers: the model computes the same, and neighbouring ranges are equal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_chains import BETWEEN, CHANNELS, CONVS, Net
from same_numbers import compute, parse, random_feeds, run_exactly

from qir.ir.constant import Constant
from qir.ir.errors import ConfigError, PassError, QirError
from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.passes.equalization.layer_weights import LayerWeights, weights_of
from qir.passes.equalize_layers import EqualizeLayers

TOLERANCE = 1e-4


def held(graph: Graph, name: str) -> LayerWeights:
    found = weights_of(graph.node(name))
    assert isinstance(found, LayerWeights)
    return found


def assert_equal_ranges(graph: Graph) -> None:
    layers = [n.name for n in graph.nodes if n.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    for upper, lower in itertools.pairwise(layers):
        ranges = held(graph, upper).output_ranges()
        np.testing.assert_allclose(ranges, held(graph, lower).input_ranges(), rtol=3e-3)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    layers=st.lists(st.tuples(st.sampled_from(CONVS), st.booleans()), min_size=2, max_size=4),
    between=st.lists(st.sampled_from(BETWEEN), min_size=3, max_size=3),
)
def test_convolutions_compute_the_same(seed: int, layers: list[tuple[str, bool]], between: list[str]) -> None:
    net = Net(seed, (2, CHANNELS, 9, 8))
    for i, (kind, bias) in enumerate(layers):
        if i:
            net.between(between[i - 1], 4)
        net.conv(kind, bias)
    graph = net.done()
    log = run_exactly(EqualizeLayers(), graph, TOLERANCE)
    assert log.counts() == {"equalize-layers": len(layers) - 1}
    assert_equal_ranges(graph)
    assert EqualizeLayers().run(graph, Context()) is False


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    layers=st.lists(st.tuples(st.sampled_from(("Gemm", "MatMul")), st.booleans()), min_size=2, max_size=4),
    between=st.lists(st.sampled_from(BETWEEN), min_size=3, max_size=3),
)
def test_matrices_compute_the_same(seed: int, layers: list[tuple[str, bool]], between: list[str]) -> None:
    net = Net(seed, (3, CHANNELS))
    for i, (op, bias) in enumerate(layers):
        if i:
            net.between(between[i - 1], 2)
        net.linear(op, bias)
    graph = net.done()
    run_exactly(EqualizeLayers(), graph, TOLERANCE)
    assert_equal_ranges(graph)
    assert EqualizeLayers().run(graph, Context()) is False


def test_the_factors_are_those_of_the_paper() -> None:
    net = Net(0, (1, CHANNELS))
    net.linear("MatMul", bias=False)
    net.between("Relu", 2)
    net.linear("MatMul", bias=False)
    graph = net.done()
    names = [node.name for node in graph.nodes if node.op == "MatMul"]
    upper, lower = (held(graph, name) for name in names)
    r1, r2 = upper.output_ranges(), lower.input_ranges()
    EqualizeLayers().run(graph, Context())
    np.testing.assert_allclose(held(graph, names[0]).output_ranges(), np.sqrt(r1 * r2), rtol=1e-6)
    np.testing.assert_allclose(held(graph, names[1]).input_ranges(), np.sqrt(r1 * r2), rtol=1e-6)


SHARED = """
graph @shared(%x: f32[2,2]) {
  opsets {onnx=17}
  %w = const [1.0,2.0,8.0,4.0] : f32[2,2]
  %b = const [1.0,2.0] : f32[2]
  %a = MatMul "one"(%x, %w) : f32[2,2]
  %c = Add "bias"(%a, %b) : f32[2,2]
  %d = Relu "relu"(%c) : f32[2,2]
  %e = MatMul "two"(%d, %w) : f32[2,2]
  %f = Add "other"(%e, %b) : f32[2,2]
  return %f
}
"""


def test_constants_of_several_readers_are_copied_first() -> None:
    graph = parse(SHARED)
    run_exactly(EqualizeLayers(), graph, TOLERANCE)
    one, two = (graph.node(name).inputs[1] for name in ("one", "two"))
    assert one is not two
    other = graph.node("other").inputs[1]
    assert other is not None
    assert other.constant == Constant.of(np.asarray([1, 2], np.float32))


def test_a_value_that_the_model_returns_is_left_alone() -> None:
    graph = parse(SHARED)
    graph.add_output(graph.value("d"))
    assert EqualizeLayers().run(graph, Context()) is False


def test_overflow_leaves_the_graph_as_it_is() -> None:
    text = SHARED.replace("[1.0,2.0,8.0,4.0]", "[1e-38,2e-38,8e-38,4e-38]").replace("[1.0,2.0]", "[3e38,2.0]")
    graph = parse(text)
    value = graph.node("two").inputs[1]
    assert value is not None
    graph.node("two").set_input(1, graph.constant(np.full((2, 2), 3e38, np.float32), "large"))
    before = str(graph)
    context = Context()
    assert EqualizeLayers().run(graph, context) is False
    assert str(graph) == before
    assert "overflow" in context.rewrites.refusals()[-1].reason


def test_float16_layers_compute_the_same_bits() -> None:
    graph = parse(SHARED.replace("f32", "f16"))
    before = compute(graph, random_feeds(graph))
    assert EqualizeLayers().run(graph, Context())
    after = compute(graph, random_feeds(graph))
    for name, expected in before.items():
        assert after[name].dtype == np.float16
        np.testing.assert_array_equal(after[name], expected)
    assert EqualizeLayers().run(graph, Context()) is False


@pytest.mark.parametrize("options", [{"iterations": 0}, {"tolerance": 0.0}, {"tolerance": 1.0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        EqualizeLayers(**options)  # type: ignore[arg-type]


def test_fewer_sweeps_do_less() -> None:
    net = Net(3, (2, CHANNELS, 9, 8))
    for kind in ("Conv", "depthwise", "depthwise", "Conv"):
        net.conv(kind, bias=True)
    graph = net.done()
    run_exactly(EqualizeLayers(iterations=1), graph, TOLERANCE)
    with pytest.raises(AssertionError):
        assert_equal_ranges(graph)
    run_exactly(EqualizeLayers(), graph, TOLERANCE)
    assert_equal_ranges(graph)


def test_errors_name_the_layer() -> None:
    graph = parse(SHARED)
    with pytest.raises(QirError, match="did you mean 'one'"):
        EqualizeLayers(skip=("onee",)).run(graph, Context())
    assert issubclass(PassError, QirError)


def test_a_channel_that_nobody_reads_keeps_its_weights() -> None:
    graph = parse("""graph @unread(%x: f32[N,2]) {
  opsets {onnx=17}
  %v = const [4.0, 1.0, 1.0, 1.0] : f32[2,2]
  %w = const [1.0, 1.0, 0.0, 0.0] : f32[2,2]
  %a = Gemm "first"(%x, %v) {} : f32[N,2]
  %y = Gemm "second"(%a, %w) {} : f32[N,2]
  return %y
}
""")
    assert EqualizeLayers().run(graph, Context())
    weights = [graph.node(name).inputs[1] for name in ("first", "second")]
    arrays = [value.constant.array for value in weights if value and value.constant]
    assert [array.tolist() for array in arrays] == [[[2.0, 1.0], [0.5, 1.0]], [[2.0, 2.0], [0.0, 0.0]]]
