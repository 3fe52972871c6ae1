"""Bias correction, sensitivity and layers left in float, on graphs whose operands have every precision."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.quants import is_quant, operand_precision, quantized_layers
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.correct_bias import BIAS_CORRECTION
from qir.passes.left_float import FLOAT, leave_in_float
from qir.passes.manager import PassManager
from qir.passes.sensitivity import SENSITIVITY
from qir.runtime.data import open_data
from qir.runtime.session import Session

QDQ = target_named("qdq")
TEXT = """
graph @net(%x: f32[1,2,6,6]) {
  opsets {onnx=17}
  %w = const #00 : f32[4,2,3,3]
  %b = const [0.5,-1.0,0.25,2.0] : f32[4]
  %v = const #00 : f32[3,4,1,1]
  %c = Conv "first"(%x, %w, %b) : f32[1,4,4,4]
  %d = Conv "second"(%c, %v, -) : f32[1,3,4,4]
  %t = Transpose "turned"(%d) {perm=[0,1,3,2]} : f32[1,3,4,4]
  %m = MatMul "scores"(%d, %t) : f32[1,3,4,4]
  return %m
}
"""
PRECISIONS = ("int8", "int16", "int16-ec", "dual-int16", "float16")


def net() -> Graph:
    random = np.random.default_rng(0)
    text = TEXT
    for shape in ("f32[4,2,3,3]", "f32[3,4,1,1]"):
        size = int(np.prod([int(n) for n in shape[4:-1].split(",")]))
        numbers = ",".join(map(str, random.standard_normal(size).astype(np.float32).tolist()))
        text = text.replace(f"const #00 : {shape}", f"const [{numbers}] : {shape}")
    return parse_graph(text)


def context(graph: Graph) -> Context:
    random = np.random.default_rng(1)
    feeds = [{"x": random.standard_normal((1, 2, 6, 6)).astype(np.float32)} for _ in range(4)]
    return Context(rules=QDQ.rules, data=open_data(feeds, graph))


def run(precision: str, text: str) -> tuple[Graph, Context]:
    graph = net()
    around = context(graph)
    insert = f"insert-quant{{precision={precision} layers=first,second,scores}},insert-quant"
    PassManager(f"{insert},quantize-weights,calibrate{{method=min-max}},{text}").run(graph, around)
    verify(graph)
    return graph, around


@pytest.mark.parametrize("precision", PRECISIONS)
def test_biases_are_corrected(precision: str) -> None:
    graph, around = run(precision, "correct-bias{samples=4},quantize-bias")
    notes = {
        n.name: json.loads(n.metadata[BIAS_CORRECTION]) for n in graph.nodes if BIAS_CORRECTION in n.metadata
    }
    assert set(notes) == {"first", "second"}  # 'scores' multiplies two computed operands
    for note in notes.values():
        assert note["after"] >= note["before"] or not note["kept"]
    assert all(operand_precision(node, 0) is not None for node in quantized_layers(graph))
    feeds = next(iter(around.data.units(lambda feeds: {}))).feeds
    exact, found = (next(iter(Session(g).run(feeds).values())) for g in (net(), lower(graph, "qdq")))
    assert np.abs(found - exact).max() < 0.05 * np.ptp(exact)


@pytest.mark.parametrize("mode", ["layer", "model"])
def test_layers_are_less_sensitive_with_more_bits(mode: str) -> None:
    scores = {}
    for precision in PRECISIONS:
        graph, _ = run(precision, f"quantize-bias,sensitivity{{metric=sqnr mode={mode}}}")
        scores[precision] = [json.loads(graph.node(n).metadata[SENSITIVITY])["score"]
                             for n in ("first", "second", "scores")]  # fmt: skip
    for i in range(3):
        assert scores["int8"][i] < scores["int16"][i] + 1
        assert scores["int16-ec"][i] > scores["int8"][i] + 30
        assert scores["dual-int16"][i] > scores["int8"][i] + 30
        assert scores["float16"][i] > scores["int8"][i] + 15


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_go_back_to_float_whole(precision: str) -> None:
    graph, _ = run(precision, "quantize-bias")
    for node in quantized_layers(graph):
        leave_in_float(node, "for a test")
        assert node.metadata[FLOAT] == "for a test"
    assert not any(map(is_quant, graph.nodes))
    verify(graph)


def test_quants_of_several_layers_are_split_in_pairs() -> None:
    """`calibrate{layers=…}` closes both quants of error compensation for its layer and leaves the other's."""
    graph = net()
    around = context(graph)
    shared, scores = graph.node("first").output, graph.node("scores")
    scores.set_input(0, shared)
    scores.set_input(1, shared)
    scores.output.type = shared.type
    PassManager("insert-quant{operands=0:ec,1:int8 layers=second,scores}").run(graph, around)
    assert graph.node("second").inputs[0] is scores.inputs[0]
    PassManager("quantize-weights,calibrate{method=min-max layers=second}").run(graph, around)
    verify(graph)
    assert operand_precision(graph.node("second"), 0).is_closed
    assert not operand_precision(graph.node("scores"), 0).is_closed
    PassManager("calibrate{method=percentile percentile=0.9}").run(graph, around)
    first, other = (operand_precision(graph.node(name), 0) for name in ("second", "scores"))
    assert other.is_closed
    assert other.quant.scale < first.quant.scale
    assert other.rest.scale < first.rest.scale
