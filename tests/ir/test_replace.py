"""Graph.replace: readers move, names of outputs survive."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.parser import parse_graph
from qir.ir.types import tensor
from qir.ir.verify import verify

NET = """graph @net(%x: f32[N,3]) {
  %w = const [1.0,2.0,3.0] : f32[3]
  %a = Mul(%x, %w) : f32[N,3]
  %b = Relu(%a) : f32[N,3]
  %c = Neg(%b) : f32[N,3]
  return %b
}
"""


def replaced(text: str, old: str, new: str) -> str:
    graph = parse_graph(text)
    graph.replace(graph.value(old), graph.value(new))
    verify(graph)
    return str(graph)


def test_replace_moves_readers_and_the_name_of_an_output() -> None:
    assert replaced(NET, "a", "x").count("Relu(%x)") == 1
    text = replaced(NET, "b", "a")
    assert '%b = Mul "a"(%x, %w)' in text
    assert '%b_1 = Relu "b"(%b)' in text
    assert "%c = Neg(%b)" in text
    assert "return %b\n" in text


def test_replace_by_an_input_returns_an_identity_of_the_old_name() -> None:
    text = replaced(NET, "b", "x")
    assert "%c = Neg(%x)" in text
    assert '%b = Identity "b_1"(%x) : f32[N,3]' in text
    assert "return %b\n" in text


def test_replace_by_a_constant() -> None:
    assert "%b = Identity" in replaced(NET, "b", "w"), "w is read elsewhere and keeps its name"
    graph = parse_graph(NET)
    fresh = graph.constant(np.zeros(3, np.float32), "folded")
    graph.replace(graph.value("b"), fresh)
    assert fresh.name == "b"
    assert graph.outputs == (fresh,)
    verify(graph)


def test_replace_where_one_value_is_returned_twice_or_both_are() -> None:
    text = replaced(NET.replace("return %b", "return %b, %b"), "b", "a")
    assert "return %b, %b\n" in text
    assert "Identity" not in text
    text = replaced(NET.replace("return %b", "return %b, %a"), "b", "a")
    assert '%b = Identity "b_1"(%a)' in text
    assert "return %b, %a\n" in text


def test_replace_keeps_the_edge_of_the_node_that_makes_the_new_value() -> None:
    graph = parse_graph(NET)
    b = graph.value("b")
    quant = graph.add("quant", [b], domain="qir", before=graph.node("c"), outputs=["b.q"])
    graph.replace(b, quant.output)
    assert quant.inputs == (b,)
    assert graph.node("c").inputs == (quant.output,)
    assert graph.outputs == (quant.output,)
    assert quant.output.name == "b"


def test_an_identity_that_stands_in_for_a_quant_is_not_quantized() -> None:
    text = NET.replace("%c = Neg(%b) : f32[N,3]", "%c = qir.quant(%b) : f32[N,3]!i8")
    graph = parse_graph(text.replace("return %b", "return %b, %c"))
    graph.replace(graph.value("b"), graph.value("c"))
    verify(graph)
    made = graph.outputs[0]
    assert (made.name, made.type) == ("b", tensor(DType.F32, ["N", 3]))
    assert made.producer is not None
    assert made.producer.inputs == (graph.value("c"),)


def test_replace_an_input_that_is_returned_is_refused() -> None:
    text = NET.replace("return %b", "return %x")
    with pytest.raises(QirError, match="cannot replace input 'x': the graph returns it"):
        replaced(text, "x", "w")


def test_replace_reaches_subgraphs_which_return_by_position() -> None:
    graph = parse_graph("""graph @n(%x: f32[2], %c: bool[]) {
      %a = Relu(%x)
      %y = If(%c) {else_branch=graph @no() {
        %n = Neg(%a)
        return %n
      }, then_branch=graph @yes() {
        %m = Neg(%x)
        return %a, %m
      }}
      return %y
    }""")
    graph.replace(graph.value("a"), graph.value("x"))
    verify(graph)
    no, yes = graph.node("y").subgraphs
    assert no.node("n").inputs == (graph.value("x"),)
    assert [n.op for n in yes.nodes] == ["Neg", "Identity"]
    assert yes.nodes[1].inputs == (graph.value("x"),)
    assert yes.outputs == (yes.nodes[1].output, yes.value("m"))
    yes.replace(yes.outputs[0], yes.value("m"))
    assert yes.outputs == (yes.value("m"), yes.value("m"))
    verify(graph)
