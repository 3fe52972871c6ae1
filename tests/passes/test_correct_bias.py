"""correct-bias by numbers: what is added is the mean error that is left, layer after layer."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from random_chains import Net
from same_numbers import parse, random_feeds

from qir.backends.targets import ASCEND
from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.quants import bias_add_candidate, unquantized
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.correct_bias import BIAS_CORRECTION, CorrectBias
from qir.passes.manager import PassManager
from qir.runtime.data import open_data
from qir.runtime.session import Session
from qir.runtime.twins import without_quants

SAMPLES = 3
QUANTIZE = (
    "normalize-gemm,infer-types,insert-quant{per-channel=false},quantize-weights,calibrate{method=min-max}"
)
Array = npt.NDArray[np.generic]


def feeds_of(graph: Graph) -> list[dict[str, Array]]:
    return [random_feeds(graph, seed) for seed in range(SAMPLES)]


def context_of(graph: Graph) -> Context:
    return Context(data=open_data(feeds_of(graph), graph), rules=ASCEND.rules)


def net(kind: str) -> Graph:
    made = Net(1, (3, 4) if kind in ("Gemm", "MatMul") else (2, 4, 5, 5))
    for i in range(3):
        if i:
            made.between("Relu", 2 if kind in ("Gemm", "MatMul") else 4)
        if kind in ("Gemm", "MatMul"):
            made.linear(kind, bias=i == 1)
        else:
            made.conv(kind, bias=i == 1)
    return made.done()


def mean_error(graph: Graph, layer: str) -> npt.NDArray[np.float64]:
    """The mean of float minus quantized output per channel, with whatever biases there are."""
    node = graph.node(layer)
    add = bias_add_candidate(node)
    value = (add or node).output.name
    axis = -1 if node.op in ("Gemm", "MatMul") else 1
    errors = []
    floats, rounded = (Session(without_quants(graph, rounded=r), taps=[value]) for r in (False, True))
    for feeds in feeds_of(graph):
        difference = floats.run(feeds)[value].astype(np.float64) - rounded.run(feeds)[value]
        errors.append(np.moveaxis(difference, axis, 0).reshape(difference.shape[axis], -1).mean(axis=1))
    found: npt.NDArray[np.float64] = np.mean(errors, axis=0)
    return found


@pytest.mark.parametrize("kind", ["Conv", "depthwise", "ConvTranspose", "Gemm", "MatMul"])
def test_no_mean_error_is_left_of_any_layer(kind: str) -> None:
    graph = net(kind)
    PassManager(QUANTIZE).run(graph, context_of(graph))
    before = graph.clone()
    assert CorrectBias(samples=SAMPLES, metric="mse").run(graph, context_of(graph))
    verify(graph)
    layers = [node.name for node in graph.nodes if BIAS_CORRECTION in node.metadata]
    assert len(layers) == 3
    reference = Session(without_quants(before, rounded=False))
    corrected = Session(without_quants(graph, rounded=True))
    for feeds in feeds_of(graph):
        assert list(corrected.run(feeds)) == list(reference.run(feeds))
    for layer in layers:
        note = json.loads(graph.node(layer).metadata[BIAS_CORRECTION])
        assert note["kept"]
        assert note["after"] < note["before"]
    name = before.outputs[0].name
    errors = [reference.run(f)[name].astype(np.float64) - corrected.run(f)[name] for f in feeds_of(graph)]
    axis = 1 if np.ndim(errors[0]) == 4 else -1
    left = np.mean([np.moveaxis(e, axis, 0).reshape(e.shape[axis], -1).mean(axis=1) for e in errors], axis=0)
    scale = np.abs(mean_error(before, layers[-1])).max()
    assert np.abs(left).max() < 1e-3 * scale
    PassManager("quantize-bias").run(graph, context_of(graph))


def test_the_first_layer_gets_its_mean_error() -> None:
    graph = net("Conv")
    PassManager(QUANTIZE).run(graph, context_of(graph))
    layer = next(node for node in graph.nodes if node.op == "Conv").name
    expected = mean_error(graph, layer)
    CorrectBias(samples=SAMPLES, metric="mse").run(graph, context_of(graph))
    bias = graph.node(layer).inputs[2]
    assert bias is not None
    constant = unquantized(bias).constant
    assert constant is not None
    np.testing.assert_allclose(constant.array, expected, rtol=1e-4, atol=1e-6)


def test_all_of_it_is_taken_back_when_the_model_gets_no_better() -> None:
    graph = parse(
        """
graph @useless(%x: f32[2,2]) {
  opsets {onnx=17}
  %m = const [1.0,0.4,0.3,2.0] : f32[2,2]
  %y = MatMul "linear"(%x, %m) : f32[2,2]
  %z = Sub "nothing"(%y, %y) : f32[2,2]
  return %z
}
"""
    )
    PassManager(QUANTIZE).run(graph, context_of(graph))
    context = context_of(graph)
    CorrectBias(samples=SAMPLES, metric="mse").run(graph, context)
    assert context.rewrites.counts() == {}
    assert context.rewrites.refusals()[0].reason.startswith("the model's outputs get no better")
    assert not json.loads(graph.node("linear").metadata[BIAS_CORRECTION])["kept"]
    assert [node.op for node in graph.nodes if node.domain == ""] == ["MatMul", "Sub"]


def test_it_takes_no_more_samples_than_asked_for() -> None:
    graph = net("Gemm")
    PassManager(QUANTIZE).run(graph, context_of(graph))
    CorrectBias(samples=2).run(graph, context_of(graph))
    notes = [json.loads(n.metadata[BIAS_CORRECTION]) for n in graph.nodes if BIAS_CORRECTION in n.metadata]
    assert {note["samples"] for note in notes} == {2}


def test_what_it_needs() -> None:
    graph = net("Gemm")
    PassManager(QUANTIZE).run(graph, context_of(graph))
    with pytest.raises(PassError, match="needs data"):
        CorrectBias().run(graph, Context(rules=ASCEND.rules))
    with pytest.raises(PassError, match="needs the rules"):
        CorrectBias().run(graph, Context(data=context_of(graph).data))
    with pytest.raises(ConfigError, match="samples must be at least 1"):
        CorrectBias(samples=0)
    with pytest.raises(ConfigError, match="there is no metric 'msee'"):
        CorrectBias(metric="msee")
