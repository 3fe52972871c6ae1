"""eliminate-dead by numbers: nothing that counts is removed, however deep it is nested or long the graph."""

from __future__ import annotations

from golden import FOLDER, read_cases
from same_numbers import chain, ops, parse, run_exactly

from qir.ir.graph import Graph
from qir.passes.context import RewriteLog
from qir.passes.eliminate_dead import EliminateDead, eliminate_dead


def test_the_golden_graphs_compute_the_same() -> None:
    for case in read_cases(FOLDER / "eliminate_dead.qir"):
        graph = case.graph()
        if "BatchNormalization" not in ops(graph):  # ONNX Runtime does not train
            run_exactly(EliminateDead(), graph)


def test_lstm_loses_the_outputs_that_nobody_reads() -> None:
    graph = parse("""graph @lstm(%x: f32[5,1,2], %w: f32[1,12,2], %r: f32[1,12,3]) {
  opsets {onnx=17}
  %all, %hidden, %cell = LSTM "lstm"(%x, %w, %r) {hidden_size=3} : f32[5,1,1,3], f32[1,1,3], f32[1,1,3]
  %y = Neg(%hidden) : f32[1,1,3]
  return %y
}
""")
    run_exactly(EliminateDead(), graph)
    assert [v and v.name for v in graph.node("lstm").outputs] == ["all", "hidden"]


def test_a_node_without_outputs_stays() -> None:
    graph = Graph("effect", {"": 17, "my": 1})
    value = graph.add_input("x")
    graph.add("Print", [value], outputs=[], domain="my", name="print")
    graph.add_output(graph.add("Neg", [value]).output)
    assert not eliminate_dead(graph, RewriteLog())
    assert ops(graph) == ["Print", "Neg"]


def test_a_long_dead_chain_goes_in_one_run() -> None:
    graph = chain("Neg", 10_000)
    graph.set_output(0, graph.value("n0"))
    log = RewriteLog()
    assert eliminate_dead(graph, log)
    assert ops(graph) == ["Neg"]
    assert log.counts() == {"eliminate-dead": 9_999}
    assert not eliminate_dead(graph, log)
