"""infer-types never refuses a model and never forgets what it knows."""

from __future__ import annotations

from same_numbers import parse

from qir.passes.context import Context
from qir.passes.infer_types import InferTypes


def test_an_invalid_node_keeps_its_type_and_the_others_get_theirs() -> None:
    graph = parse("""graph @invalid(%x: f32[2,3], %z: f32[4,5]) {
  opsets {onnx=17}
  %m = MatMul(%x, %z) : ?
  %n = Neg(%x) : ?
  return %m, %n
}
""")
    InferTypes().run(graph, Context())
    assert graph.value("n").tensor.shape == (2, 3)
    assert graph.value("m").tensor.shape is None


def test_it_says_when_nothing_was_learnt() -> None:
    graph = parse("""graph @types(%x: f32[N,3]) {
  opsets {onnx=17}
  %n = Neg(%x) : ?
  return %n
}
""")
    assert InferTypes().run(graph, Context())
    assert graph.value("n").tensor.shape == ("N", 3)
    assert not InferTypes().run(graph, Context())
