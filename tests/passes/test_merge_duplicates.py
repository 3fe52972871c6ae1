"""merge-duplicates by numbers, and what it must tell apart."""

from __future__ import annotations

import pytest
from golden import FOLDER, read_cases
from same_numbers import ops, parse, run_exactly

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList
from qir.ir.types import tensor
from qir.passes.context import Context, RewriteLog
from qir.passes.merge_duplicates import MergeDuplicates, merge_nodes


@pytest.mark.parametrize("number", [0, 3])
def test_the_golden_graphs_compute_the_same(number: int) -> None:
    run_exactly(MergeDuplicates(), read_cases(FOLDER / "merge_duplicates.qir")[number].graph())


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0.0, -0.0), (EmptyList("ints"), EmptyList("floats")), ((1, 2), (1.0, 2.0)), ("1", b"1")],
)
def test_attributes_that_python_takes_for_equal(one: Attribute, other: Attribute) -> None:
    graph = Graph("attributes", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, (4,)))
    for item in (one, other, one):
        graph.add_output(
            graph.add("Neg", [graph.add("LeakyRelu", [x], attributes={"alpha": item}).output]).output
        )
    merge_nodes(graph, RewriteLog())
    assert ops(graph).count("LeakyRelu") == 2


def test_nodes_that_give_other_outputs_stay() -> None:
    graph = parse("""graph @masks(%x: f32[1,1,4,4]) {
  opsets {onnx=17}
  %a = MaxPool(%x) {kernel_shape=[2,2]} : f32[1,1,3,3]
  %b, %where = MaxPool(%x) {kernel_shape=[2,2]} : f32[1,1,3,3], i64[1,1,3,3]
  %y = Add(%a, %b) : f32[1,1,3,3]
  return %y, %where
}
""")
    assert not merge_nodes(graph, RewriteLog())
    assert ops(graph) == ["MaxPool", "MaxPool", "Add"]


def test_nodes_with_subgraphs_and_of_other_domains_stay() -> None:
    graph = parse("""graph @stay(%c: bool[], %x: f32[4]) {
  opsets {onnx=17, my=1}
  %a = If(%c) {else_branch=graph @no() {
    %n = Neg(%x) : f32[4]
    return %n
  }, then_branch=graph @yes() {
    %p = Abs(%x) : f32[4]
    return %p
  }} : f32[4]
  %b = If(%c) {else_branch=graph @no() {
    %n = Neg(%x) : f32[4]
    %m = Neg(%x) : f32[4]
    %k = Add(%n, %m) : f32[4]
    return %k
  }, then_branch=graph @yes() {
    %p = Abs(%x) : f32[4]
    return %p
  }} : f32[4]
  %d = my.Dice(%x) : f32[4]
  %e = my.Dice(%x) : f32[4]
  %y = Sum(%a, %b, %d, %e) : f32[4]
  return %y
}
""")
    log = RewriteLog()
    assert merge_nodes(graph, log) is False
    assert MergeDuplicates().run(graph, Context(rewrites=log))
    assert log.counts() == {"merge-duplicates": 1}  # %m, within a branch
    assert ops(graph) == ["If", "If", "Dice", "Dice", "Sum"]
