"""eliminate-identity by numbers: outputs keep names and bits."""

from __future__ import annotations

import pytest
from golden import FOLDER, read_cases
from same_numbers import chain, ops, parse, run_exactly

from qir.passes.context import RewriteLog
from qir.passes.eliminate_identity import EliminateIdentity, eliminate_identity


@pytest.mark.parametrize("number", [0, 3, 4])
def test_the_golden_graphs_compute_the_same(number: int) -> None:
    run_exactly(EliminateIdentity(), read_cases(FOLDER / "eliminate_identity.qir")[number].graph())


def test_ops_of_old_opsets() -> None:
    graph = parse("""graph @old(%x: f32[2,3]) {
  opsets {onnx=9}
  %d = Dropout(%x) {ratio=0.5} : f32[2,3]
  %p = Pad(%d) {pads=[0,0,0,0]} : f32[2,3]
  %s = Slice(%p) {axes=[0,1], ends=[2147483647,2147483647], starts=[0,0]} : f32[2,3]
  %border = Pad(%s) {pads=[0,1,0,0]} : f32[2,4]
  %part = Slice(%border) {axes=[1], ends=[2147483647], starts=[1]} : f32[2,3]
  return %part
}
""")
    run_exactly(EliminateIdentity(), graph)
    assert ops(graph) == ["Pad", "Slice"]


def test_a_loop_keeps_what_gives_its_body_a_result() -> None:
    graph = parse("""graph @loop(%x: f32[2]) {
  opsets {onnx=17}
  %times = const 3 : i64[]
  %go = const true : bool[]
  %y = Loop "loop"(%times, %go, %x) {body=graph @body(%i: i64[], %c: bool[], %a: f32[2]) {
    %next = Identity(%c) : bool[]
    %same = Identity(%a) : f32[2]
    %twice = Add(%same, %a) : f32[2]
    %b = Identity(%twice) : f32[2]
    return %next, %b
  }} : f32[2]
  return %y
}
""")
    run_exactly(EliminateIdentity(), graph)
    assert ops(graph.node("loop").subgraphs[0]) == ["Identity", "Add"]


def test_the_remaining_value_knows_what_was_known_of_both() -> None:
    graph = parse("""graph @types(%x: f32[4,?]) {
  opsets {onnx=17}
  %n = Neg(%x) : f32[?,?]
  %y = Identity(%n) : f32[batch,8]
  return %y
}
""")
    assert eliminate_identity(graph, RewriteLog())
    assert graph.value("y").tensor.shape == ("batch", 8)


def test_a_long_chain() -> None:
    graph = chain("Identity", 10_000)
    assert eliminate_identity(graph, RewriteLog())
    assert ops(graph) == ["Identity"]  # the output's name is not the input's
    assert graph.outputs[0].name == "n9999"


def test_what_is_learnt_from_one_identity_shows_another() -> None:
    graph = parse("""graph @learns(%x: f32[2,3], %s: i64[2]) {
  opsets {onnx=17}
  %n = Neg(%x) : f32[2,3]
  %r = Reshape(%n, %s) : f32?
  %i = Identity(%r) : f32[2,3]
  %y = Abs(%i) : f32[2,3]
  return %y
}
""")
    assert eliminate_identity(graph, RewriteLog())
    assert ops(graph) == ["Neg", "Abs"]
    assert not eliminate_identity(graph, RewriteLog())
