"""networkx views and DOT text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qir.ir.dot import to_dot
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.views import dominators, nodes_between, to_networkx

DIAMOND = """graph @n(%x: f32[2], %u: f32[2]) {
  %w = const [1.0,2.0] : f32[2]
  %a = Mul(%x, %w) : f32[2]
  %l = Relu(%a) : f32[2]
  %r = Neg(%a) : f32[2]
  %s = Add(%l, %r) : f32[2]
  %o = Abs(%u) : f32[2]
  %t = Add(%s, %o) : f32[2]
  return %t
}"""


def test_networkx_has_an_edge_per_reading() -> None:
    graph = parse_graph(DIAMOND)
    view = to_networkx(graph)
    edges = [
        (source.name, node.name, d["value"].name, d["index"]) for source, node, d in view.edges(data=True)
    ]
    assert sorted(edges) == [
        ("a", "l", "a", 0),
        ("a", "r", "a", 0),
        ("l", "s", "l", 0),
        ("o", "t", "o", 1),
        ("r", "s", "r", 1),
        ("s", "t", "s", 0),
        ("u", "o", "u", 0),
        ("x", "a", "x", 0),
    ]


def test_captures_are_edges_of_the_node_that_holds_the_subgraph() -> None:
    graph = parse_graph("""graph @n(%x: ?) {
      %a = Relu(%x)
      %y = If(%x) {then_branch=graph @g() {
        %b = Add(%a, %a)
        return %b
      }}
      return %y
    }""")
    a, y = graph.nodes
    edges = list(to_networkx(graph).edges(data=True))
    assert [(s, n, d["index"]) for s, n, d in edges if n is y] == [(graph.value("x"), y, 0), (a, y, None)]
    assert dominators(graph) == {a: None, y: None}
    assert nodes_between(graph, [a], [y]) == (a, y)


def test_dominators() -> None:
    graph = parse_graph(DIAMOND)
    found = {node.name: over.name if over else None for node, over in dominators(graph).items()}
    assert found == {"a": None, "l": "a", "r": "a", "s": "a", "o": None, "t": None}
    assert dominators(Graph()) == {}


def test_nodes_between() -> None:
    graph = parse_graph(DIAMOND)

    def between(sources: str, targets: str) -> str:
        found = nodes_between(graph, map(graph.node, sources), map(graph.node, targets))
        return "".join(node.name for node in found)

    assert between("a", "s") == "alrs"
    assert between("l", "t") == "lst"
    assert between("lo", "t") == "lsot"
    assert between("t", "a") == ""
    assert between("r", "r") == "r"
    assert between("", "t") == ""
    with pytest.raises(QirError, match="node 'Relu' is not in graph 'n'"):
        nodes_between(graph, [Graph().add("Relu", [])], [])


DOT = r"""digraph "n" {
  node [shape=box, fontname="sans-serif"];
  n0 [label="input\nx\nf32[2]", shape=ellipse];
  n1 [label="Mul\na\\\"b\\u000a\nw: f32[2]"];
  n2 [label="qir.quant\nq", style=filled, fillcolor=lightgrey];
  n3 [label="com.x.If\ny"];
  subgraph cluster_n3_0 {
    label="y\ng";
    n4 [label="Relu\nr"];
    n5 [label="output\nr", shape=ellipse];
  }
  n6 [label="output\ny", shape=ellipse];
  n7 [label="output\nw", shape=ellipse];
  n8 [label="w\nf32[2]"];
  n0 -> n1 [label="x\nf32[2]"];
  n1 -> n2 [label="a\\\"b\\u000a\nf32[2]"];
  n2 -> n3 [label="q\nf32[2]!i8"];
  n1 -> n4 [label="a\\\"b\\u000a\nf32[2]"];
  n4 -> n5 [label="r\n?"];
  n3 -> n6 [label="y\n?"];
  n8 -> n7 [label="w\nf32[2]"];
}
"""


def test_dot_text() -> None:
    graph = parse_graph(r"""graph @n(%x: f32[2]) {
      %w = const [1.0,2.0] : f32[2]
      %"a\\\"b\n" = Mul(%x, %w) : f32[2]
      %q = qir.quant(%"a\\\"b\n") : f32[2]!i8
      %y = com.x.If(%q) {then_branch=graph @g() {
        %r = Relu(%"a\\\"b\n") : ?
        return %r
      }} : ?
      return %y, %w
    }""")
    assert to_dot(graph) == DOT
    assert to_dot(graph.clone()) == DOT


def test_the_floor_does_not_load_networkx() -> None:
    code = "import sys, qir.ir; sys.exit('networkx' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
