"""The float and the quantized model side by side give what each gives alone, and hold no more than needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.runtime import both_models
from qir.runtime.both_models import BothModels, Sample, on_all
from qir.runtime.session import Session
from qir.runtime.twins import without_quants
from qir.runtime.units import Unit

RESULTS = ("a", "b", "c")


def two_branches() -> Graph:
    """Two layers side by side, and one that reads both of them."""
    return parse_graph(
        """
graph @branches(%x: f32[3,2]) {
  opsets {onnx=17}
  %w = const [1.0,0.4,0.3,2.0] : f32[2,2]
  %x.q = qir.quant(%x) : f32[3,2]!i8<scale=0.1 zero=0>
  %w.q = qir.quant(%w) : f32[2,2]!i8<scale=0.5 zero=0>
  %a = MatMul "first"(%x.q, %w.q) : f32[3,2]
  %b = MatMul "second"(%x, %w.q) : f32[3,2]
  %r = Relu "relu"(%a) : f32[3,2]
  %s = Add "sum"(%r, %b) : f32[3,2]
  %s.q = qir.quant(%s) : f32[3,2]!i8<scale=0.2 zero=0>
  %c = MatMul "third"(%s.q, %w.q) : f32[3,2]
  %y = Neg "negative"(%c) : f32[3,2]
  return %y
}
""",
        None,
    )


def random_feeds(seed: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32)}


@pytest.mark.parametrize("limit", [0, 24, 48, 1 << 20])
def test_results_are_those_of_either_model(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(both_models, "SEGMENT_BYTES", limit)
    graph = two_branches()
    feeds = [random_feeds(seed) for seed in range(3)]
    expected, rounded = (Session(without_quants(graph, rounded=r), taps=RESULTS) for r in (False, True))
    samples = [Sample(Unit(i, f"sample {i}", feed), 2) for i, feed in enumerate(feeds)]
    models = BothModels(graph, RESULTS)
    taken = []
    with ThreadPoolExecutor(2) as pool:
        for step in models.steps:
            models.run(step, samples, pool)
            taken.append(step.results)
            for sample, feed in zip(samples, feeds, strict=True):
                for name in step.results:
                    np.testing.assert_array_equal(sample.floats.results[name], expected.run(feed)[name])
                    for stream in sample.quantized:
                        np.testing.assert_array_equal(stream.results[name], rounded.run(feed)[name])
                sample.drop_results()
        models.finish(samples, pool)
    assert taken == [("a", "b"), ("c",), ()]
    assert models.outputs == ("y",)
    for sample, feed in zip(samples, feeds, strict=True):
        np.testing.assert_array_equal(sample.floats.state["y"], expected.run(feed)["y"])
        np.testing.assert_array_equal(sample.quantized[1].state["y"], rounded.run(feed)["y"])
        assert [set(stream.state) for stream in (sample.floats, *sample.quantized)] == [{"y"}] * 3
        assert not sample.floats.results


def test_what_is_done_to_one_stream_stays_there() -> None:
    graph = two_branches()
    sample = Sample(Unit(0, "sample 0", random_feeds(0)), 2)
    models = BothModels(graph, RESULTS)
    with ThreadPoolExecutor(1) as pool:
        for step in models.steps:
            models.run(step, [sample], pool)
            if "b" in sample.quantized[0].state:
                sample.quantized[0].state["b"] += 1
            sample.drop_results()
    corrected, plain = (stream.state["y"] for stream in sample.quantized)
    assert (corrected != plain).any()


def test_results_are_in_the_order_of_the_items() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert on_all(lambda i: i * i, range(7), pool) == [i * i for i in range(7)]
        assert on_all(lambda i: i, [], pool) == []
