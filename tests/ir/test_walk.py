"""Walks over graphs and the sorting of nodes."""

from __future__ import annotations

import random

import pytest

from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.verify import verify
from qir.ir.walk import sort_nodes, sorted_nodes, walk_graphs, walk_nodes

NESTED = """graph @n(%x: ?, %c: ?) {
  %a = Relu(%x) : ?
  %y = If(%c) {else_branch=graph @no() {
    %n = Neg(%a) : ?
    return %n
  }, then_branch=graph @yes() {
    %i = If(%c) {then_branch=graph @deep() {
      %d = Abs(%a) : ?
      return %d
    }} : ?
    return %i
  }} : ?
  %z = Exp(%y) : ?
  return %z
}
"""


def test_walks_enter_subgraphs_in_running_order() -> None:
    graph = parse_graph(NESTED)
    assert [n.name for n in walk_nodes(graph)] == ["a", "y", "n", "i", "d", "z"]
    assert [g.name for g in walk_graphs(graph)] == ["n", "no", "yes", "deep"]


def test_a_walk_allows_erasing() -> None:
    graph = parse_graph(NESTED)
    seen = []
    for node in walk_nodes(graph):
        seen.append(node.name)
        if node.name == "y":
            for name in ("z", "y"):
                graph.replace(graph.value(name), graph.value("x"))
                graph.erase(graph.node(name))
    assert seen == ["a", "y"], "neither what was in the erased node nor the erased node after it"


def chain(count: int) -> Graph:
    graph = Graph("chain")
    value = graph.add_input("x")
    for i in range(count):
        value = graph.add("Relu", [value], name=f"r{i}").output
    graph.add_output(value)
    return graph


def test_sorting_leaves_a_sorted_graph_alone() -> None:
    graph = parse_graph(NESTED)
    assert not sort_nodes(graph)
    assert str(graph) == NESTED


def test_sorting_pulls_producers_in_front_and_keeps_the_rest() -> None:
    graph = parse_graph("""graph @n(%x: ?) {
      %a = A(%x)
      %b = B(%x)
      %c = C(%a)
      %d = D(%x)
      return %c
    }""")
    graph.node("a").set_input(0, graph.value("d"))
    graph.move(graph.node("a"), graph.node("c"))
    assert sort_nodes(graph)
    verify(graph)
    assert [n.name for n in graph.nodes] == ["b", "d", "a", "c"]


def test_sorting_counts_captures_and_enters_subgraphs() -> None:
    graph = parse_graph(NESTED)
    graph.move(graph.node("a"), None)
    deep = next(g for g in walk_graphs(graph) if g.name == "deep")
    extra = deep.add("Sqrt", [graph.value("a")])
    deep.node("d").set_input(0, extra.output)
    assert sort_nodes(graph)
    verify(graph)
    assert [n.name for n in walk_nodes(graph)] == ["a", "y", "n", "i", "Sqrt", "d", "z"]


def test_sorting_a_long_shuffled_chain() -> None:
    graph = chain(5000)
    text = str(graph)
    order = list(graph.nodes)
    random.Random(0).shuffle(order)
    for node in order:
        graph.move(node, None)
    assert sort_nodes(graph)
    assert str(graph) == text


def test_a_cycle_is_named() -> None:
    graph = chain(3)
    graph.node("r0").set_input(0, graph.value("r2"))
    with pytest.raises(ModelError) as caught:
        sorted_nodes(graph)
    assert "graph 'chain' has a cycle: 'r0' (Relu) -> 'r1' (Relu) -> 'r2' (Relu) -> 'r0' (Relu);" in str(
        caught.value
    )
    alone = chain(1)
    alone.node("r0").set_input(0, alone.value("r0"))
    with pytest.raises(ModelError, match=r"'r0' \(Relu\) -> 'r0' \(Relu\)"):
        sort_nodes(alone)


def test_a_cycle_through_a_subgraph_is_named() -> None:
    graph = parse_graph(NESTED)
    graph.node("a").set_input(0, graph.value("y"))
    with pytest.raises(ModelError, match=r"'a' \(Relu\) -> 'y' \(If\) -> 'a' \(Relu\)"):
        sort_nodes(graph)


def test_a_long_cycle_is_shortened() -> None:
    graph = chain(1000)
    graph.node("r0").set_input(0, graph.value("r999"))
    with pytest.raises(ModelError, match="… 994 more …") as caught:
        sort_nodes(graph)
    assert len(str(caught.value)) < 400
