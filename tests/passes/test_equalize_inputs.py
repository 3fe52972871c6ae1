"""equalize-inputs by numbers: the model computes the same, and ranges of channels are what was asked for."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_chains import BETWEEN, CHANNELS, CONVS, Net
from same_numbers import assert_near, compute, parse, random_feeds

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.output_factors import output_factors
from qir.ir.region import extract
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.equalization.inputs import EQUALIZED
from qir.passes.equalization.layer_weights import LayerWeights, weights_of
from qir.passes.equalize_inputs import EqualizeInputs
from qir.passes.equalize_layers import EqualizeLayers
from qir.runtime.channel_maxima import collect_channel_maxima
from qir.runtime.data import open_data

TOLERANCE = 1e-4


def context_of(graph: Graph) -> Context:
    return Context(data=open_data([random_feeds(graph)], graph))


def run_exactly(item: EqualizeInputs, graph: Graph) -> Context:
    """Run the pass; the outputs must stay the same."""
    feeds = random_feeds(graph, seed=5)
    before = compute(graph, feeds)
    context = context_of(graph)
    text = str(graph)
    assert item.run(graph, context) == (str(graph) != text)
    verify(graph)
    after = compute(graph, feeds)
    for name, expected in before.items():
        assert_near(after[name], expected, TOLERANCE)
    assert item.run(graph, context_of(graph)) is False
    return context


def ranges(graph: Graph, layer: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """The ranges of a layer's input channels, in the data and in the weights."""
    held = weights_of(graph.node(layer))
    assert isinstance(held, LayerWeights)
    value = graph.node(layer).inputs[0]
    assert value is not None
    channel = (value.name, held.axis)
    maxima = collect_channel_maxima(graph, {channel: held.inputs}, open_data([random_feeds(graph)], graph))
    return maxima[channel], held.input_ranges()


def node_outputs(graph: Graph) -> dict[str, npt.NDArray[np.generic]]:
    """The outputs of all nodes, by the nodes' names."""
    nodes = {node.output.name: node for node in graph.nodes}
    part = extract(graph, graph.nodes, [node.output for node in nodes.values()])
    return {nodes[name].name: array for name, array in compute(part, random_feeds(graph, seed=5)).items()}


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    layers=st.lists(st.tuples(st.sampled_from(CONVS), st.sampled_from(BETWEEN)), min_size=3, max_size=5),
)
@example(seed=0, layers=[(kind, "Relu") for kind in CONVS[:3]])
def test_noted_factors_are_those_that_outputs_are_divided_by(
    seed: int, layers: list[tuple[str, str]]
) -> None:
    net = Net(seed, (2, CHANNELS, 9, 8))
    for kind, between in layers:
        net.conv(kind, bias=True)
        net.between(between, 4)
    graph = net.done()
    before = node_outputs(graph)
    EqualizeLayers().run(graph, Context())  # what it has noted is multiplied
    EqualizeInputs().run(graph, context_of(graph))
    after = node_outputs(graph)
    noted = output_factors(graph)
    assert noted or any(between != "Relu" for _, between in layers)
    for name, divided in after.items():
        factors = np.array(noted.get(name, np.ones(CHANNELS))).reshape(1, -1, 1, 1)
        for channel in range(CHANNELS):
            assert_near((divided * factors)[:, channel], before[name][:, channel], TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    layers=st.lists(st.tuples(st.sampled_from(CONVS), st.booleans()), min_size=2, max_size=4),
    between=st.lists(st.sampled_from(BETWEEN), min_size=3, max_size=3),
    strength=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
    explicit=st.booleans(),
)
def test_convolutions_compute_the_same(
    seed: int, layers: list[tuple[str, bool]], between: list[str], strength: float, explicit: bool
) -> None:
    net = Net(seed, (2, CHANNELS, 9, 8))
    for i, (kind, bias) in enumerate(layers):
        if i:
            net.between(between[i - 1], 4)
        net.conv(kind, bias)
    context = run_exactly(EqualizeInputs(strength, explicit), net.done())
    assert context.rewrites.counts() == {"equalize-inputs": len(layers) - (not explicit)}


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
    context = run_exactly(EqualizeInputs(), net.done())
    assert context.rewrites.counts() == {"equalize-inputs": len(layers) - 1}


def two_layers() -> tuple[Graph, str]:
    net = Net(0, (3, CHANNELS))
    net.linear("MatMul", bias=False)
    net.between("LeakyRelu", 2)
    net.linear("MatMul", bias=False)
    graph = net.done()
    return graph, graph.nodes[-1].name


def test_half_strength_makes_both_ranges_of_a_channel_equal() -> None:
    graph, layer = two_layers()
    data, weights = ranges(graph, layer)
    run_exactly(EqualizeInputs(), graph)
    for after in ranges(graph, layer):
        np.testing.assert_allclose(after, np.sqrt(data * weights), rtol=1e-4)


def test_full_strength_makes_the_ranges_of_all_channels_equal() -> None:
    graph, layer = two_layers()
    data, weights = ranges(graph, layer)
    run_exactly(EqualizeInputs(strength=1.0), graph)
    after = ranges(graph, layer)
    np.testing.assert_allclose(after[0], 1, rtol=1e-4)
    np.testing.assert_allclose(after[1], data * weights, rtol=1e-4)


BATCH_NORM = """
graph @norm(%x: f32[2,3,4]) {
  opsets {onnx=17}
  %v = const [1.0,20.0,0.1] : f32[3]
  %w = const [1.0,2.0,8.0,4.0,1.0,1.0] : f32[2,3,1]
  %n = BatchNormalization "norm"(%x, %v, %v, %v, %v) : f32[2,3,4]
  %y = Conv "one"(%n, %w, -) {kernel_shape=[1]} : f32[2,2,4]
  %z = Conv "two"(%n, %w, -) {kernel_shape=[1]} : f32[2,2,4]
  return %y, %z
}
"""


def test_a_normalization_takes_the_factors_for_all_its_readers() -> None:
    graph = parse(BATCH_NORM)
    context = run_exactly(EqualizeInputs(), graph)
    assert context.rewrites.counts() == {"equalize-inputs": 2}
    note = json.loads(graph.node("two").metadata[EQUALIZED])
    assert note == {"strength": 0.5, "divided_by": "norm"}


@pytest.mark.parametrize("other", ["Relu", "Softmax"])
def test_another_reader_keeps_the_value_as_it_is(other: str) -> None:
    text = BATCH_NORM.replace(
        'Conv "two"(%n, %w, -) {kernel_shape=[1]} : f32[2,2,4]', f"{other}(%n) : f32[2,3,4]"
    )
    graph = parse(text)
    context = run_exactly(EqualizeInputs(), graph)
    assert context.rewrites.counts() == {}
    assert "other readers" in context.rewrites.refusals()[0].reason
    run_exactly(EqualizeInputs(explicit=True), graph)
    assert json.loads(graph.node("one").metadata[EQUALIZED])["divided_by"] == "Mul"


def test_overflow_leaves_the_graph_as_it_is() -> None:
    graph = parse(BATCH_NORM.replace("[1.0,2.0,8.0,4.0,1.0,1.0]", "[3e38,2.0,8.0,4.0,1.0,1.0]"))
    before = str(graph)
    context = context_of(graph)
    assert EqualizeInputs(strength=1.0).run(graph, context) is False
    assert str(graph) == before
    assert "overflow" in context.rewrites.refusals()[0].reason


def test_channels_without_data_or_weights_stay_harmless() -> None:
    text = BATCH_NORM.replace('BatchNormalization "norm"(%x, %v, %v, %v, %v)', 'Mul "norm"(%x, %m)')
    text = text.replace("  %v =", "  %m = const [0.0,1.0,1.0] : f32[3,1]\n  %v =")
    graph = parse(text.replace("[1.0,2.0,8.0,4.0,1.0,1.0]", "[1.0,2.0,0.0,4.0,1.0,0.0]"))
    run_exactly(EqualizeInputs(), graph)
    data, weights = ranges(graph, "one")
    assert np.isfinite(data).all()
    assert weights[0] == weights.max()


def test_it_needs_data_and_a_strength_that_makes_sense() -> None:
    graph, _ = two_layers()
    with pytest.raises(PassError, match="needs data"):
        EqualizeInputs().run(graph, Context())
    with pytest.raises(ConfigError, match=r"in \[0, 1\], not 1.5"):
        EqualizeInputs(strength=1.5)
