"""Graphs: def-use edges, refusals that change nothing, names, replacing and copying."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from qir.ir.compare import difference
from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.files import data_beside
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
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


def test_uses_come_in_running_order_whatever_the_order_of_edits() -> None:
    graph = Graph()
    x, y = graph.add_input("x"), graph.add_input("y")
    nodes = [graph.add("Add", [y, y]) for _ in range(3)]
    for node in reversed(nodes):
        node.set_input(1, x)
        node.set_input(0, x)
    first = graph.add("Neg", [x], before=nodes[0])
    middle = graph.add("Neg", [x], before=nodes[2])
    expected = [(first, 0), (nodes[0], 0), (nodes[0], 1), (nodes[1], 0), (nodes[1], 1), (middle, 0)]
    assert list(x.uses)[:6] == expected
    assert y.uses == ()
    assert not y.is_read


def test_inserting_often_at_one_place_keeps_the_order() -> None:
    graph = Graph()
    x = graph.add_input("x")
    last = graph.add("Last", [x])
    made = [graph.add("Relu", [x], before=last) for _ in range(200)]  # the gap is used up after 33
    front = [graph.add("Neg", [x], before=graph.nodes[0])]
    for _ in range(200):
        front.insert(1, graph.add("Neg", [x], before=front[1] if len(front) > 1 else made[0]))
    assert list(graph.nodes) == [*front, *made, last]
    assert [u.node for u in x.uses] == [*front, *made, last]


def test_set_input_appends_one_and_refuses_more() -> None:
    graph = Graph()
    x = graph.add_input("x")
    node = graph.add("Concat", [x])
    node.set_input(1, x)
    assert node.inputs == (x, x)
    for i in (-1, 3):
        with pytest.raises(QirError, match=r"node 'Concat' \(Concat\) has 2 inputs; there is no"):
            node.set_input(i, x)
    node.set_input(1, None)
    node.trim_inputs()
    assert node.inputs == (x,)
    assert x.has_one_use


def rename_taken(graph: Graph) -> None:
    graph.rename(graph.value("a"), "b")


def erase_twice(graph: Graph) -> None:
    node = graph.node("c")
    graph.erase(node)
    before = str(graph)
    with pytest.raises(QirError, match="it is not in graph 'net'"):
        graph.erase(node)
    assert str(graph) == before
    raise QirError("done")


REFUSED: list[tuple[Callable[[Graph], object], str]] = [
    (lambda g: g.erase(g.node("a")), "cannot erase 'a': 'a' is read by node 'b'; rewire it first"),
    (lambda g: g.erase(g.node("b")), "is read by node 'c'"),
    (lambda g: g.erase(g.value("w")), "'w' is read by node 'a'"),
    (lambda g: g.erase(g.value("x")), "'x' is read by node 'a'"),
    (lambda g: g.erase(g.value("c")), "'c' is the output of node 'c'; erase the node"),
    (erase_twice, "done"),
    (lambda g: g.add_input("a"), "the value name 'a' is used twice"),
    (lambda g: g.add("Relu", [g.value("x")], name="a"), "the node name 'a' is used twice"),
    (lambda g: g.add("Relu", [g.value("x")], name="n", outputs=["a"]), "the value name 'a' is used twice"),
    (lambda g: g.add("Split", [g.value("x")], outputs=["p", "p"]), "the value name 'p' is used twice"),
    (lambda g: g.add("Relu", [g.value("x")], before=Graph("o").add("Relu", [])), "is not in graph 'net'"),
    (lambda g: g.add("Relu", [g.value("x")], types=[tensor(DType.F32, [])] * 2), "2 types for 1 outputs"),
    (rename_taken, "the value name 'b' is used twice"),
    (lambda g: g.move(g.node("b"), Graph("o").add("Relu", [])), "is not in graph 'net'"),
    (lambda g: g.move(Graph("o").add("Relu", []), None), "is not in graph 'net'"),
    (lambda g: g.value("aa"), "no value named 'aa' in the graph; did you mean 'a'?"),
    (lambda g: g.node("q"), "there is no node named 'q' in the graph"),
]


@pytest.mark.parametrize(("action", "message"), REFUSED, ids=[r[1][:40] for r in REFUSED])
def test_refusals_change_nothing(action: Callable[[Graph], object], message: str) -> None:
    graph = parse_graph(NET)
    with pytest.raises(QirError) as caught:
        action(graph)
    assert message in str(caught.value)
    verify(graph)
    if action is not erase_twice:
        assert str(graph) == NET
        assert graph.unique_value_name("p") == "p"
        assert graph.unique_node_name("n") == "n"


def test_erase_frees_edges_names_and_indices() -> None:
    graph = parse_graph(NET)
    graph.erase(graph.node("c"))
    assert graph.unique_node_name("c") == "c"
    assert not graph.value("b").uses
    extra, last = graph.add_input("extra"), graph.add_input("last")
    graph.erase(extra)
    assert graph.inputs == (graph.value("x"), last)
    verify(graph)


def test_erasing_a_node_releases_what_its_subgraphs_captured() -> None:
    graph = Graph()
    x = graph.add_input("x")
    made = graph.add("Relu", [x], outputs=["r"])
    inner = Graph("inner", parent=graph)
    nested = Graph("nested", parent=inner)
    nested.add_output(nested.add("Neg", [made.output], outputs=["deep"]).output)
    inner.add("If", [x], attributes={"then_branch": nested}, outputs=["i"])
    inner.add_output(made.output)
    node = graph.add("If", [x], attributes={"then_branch": inner})
    verify(graph)
    assert made.output.is_output
    with pytest.raises(QirError, match="is read by node 'Neg'"):
        graph.erase(made)
    graph.erase(node)
    graph.erase(made)
    assert not x.is_read
    assert graph.unique_value_name("deep") == "deep"
    assert str(graph) == "graph @graph(%x: ?) {\n  return\n}\n"


def test_a_released_graph_is_freed_at_once() -> None:
    def alive() -> int:
        return sum(isinstance(item, (Graph, Node, Value)) for item in gc.get_objects())

    def build() -> Graph:
        graph = Graph()
        x = graph.add_input("x")
        first = graph.add("Add", [x, graph.constant([1.0], "c")])
        inner = Graph("inner", parent=graph)
        inner.add_output(inner.add("Neg", [first.output]).output)
        graph.add_output(graph.add("If", [x], attributes={"then_branch": inner}).output)
        return graph

    gc.collect()
    gc.disable()
    try:
        before = alive()
        graph = build()
        assert alive() > before + 5
        graph.release()
        del graph
        assert alive() == before
    finally:
        gc.enable()


def test_unique_names_depend_on_the_names_in_use_alone() -> None:
    graph = Graph()
    x = graph.add_input("x")
    nodes = [graph.add("Relu", [x]) for _ in range(4)]
    assert [n.name for n in nodes] == ["Relu", "Relu_1", "Relu_2", "Relu_3"]
    graph.erase(nodes[1])
    assert graph.unique_node_name("Relu") == "Relu_1"
    graph.erase(nodes[0])
    assert graph.unique_node_name("Relu") == "Relu"
    inner = Graph("inner", parent=graph)
    assert inner.unique_value_name("x") == "x_1"
    inner.add_input("x_1")
    assert graph.unique_value_name("x") == "x_2"


def test_clone_is_deep_and_shares_data() -> None:
    graph = parse_graph(NET)
    copy = graph.clone()
    assert difference(graph, copy) is None
    assert copy.value("w").constant is graph.value("w").constant
    copy.erase(copy.node("c"))
    copy.node("a").attributes["k"] = 1
    copy.metadata["k"] = "v"
    assert str(graph) == NET


def test_clone_of_a_subgraph_captures_the_same_values() -> None:
    graph = Graph()
    x = graph.add_input("x")
    inner = Graph("inner", parent=graph)
    inner.add_output(inner.add("Neg", [x]).output)
    node = graph.add("If", [x], attributes={"then_branch": inner})
    node.attributes["else_branch"] = inner.clone()
    assert [u.node.op for u in x.uses] == ["If", "Neg", "Neg"]
    verify(graph)


def readable(graph: Graph, node: Node) -> list[Value]:
    """What `node` may read: inputs, constants and results of nodes before it."""
    before = graph.nodes[: graph.nodes.index(node)]
    return [*graph.inputs, *graph.constants, *(v for n in before for v in n.outputs if v is not None)]


def edit(draw: st.DrawFn, graph: Graph) -> None:
    """One random change that keeps a valid graph valid, or a refusal."""
    node = draw(st.sampled_from(graph.nodes))
    values = readable(graph, node)
    action = draw(st.sampled_from(["add", "erase", "input", "move", "rename", "replace"]))
    if action == "add":
        operands = draw(st.lists(st.sampled_from(values), max_size=2)) if values else []
        graph.add(draw(st.sampled_from(["Relu", "Relu_1", "x"])), operands, before=node)
    elif action == "erase":
        graph.erase(node)
    elif action == "input" and node.inputs and values and node.domain != "qir":
        node.set_input(draw(st.integers(0, len(node.inputs))), draw(st.sampled_from([*values, None])))
    elif action == "move" and not node.inputs and not node.subgraphs:
        graph.move(node, graph.nodes[0])
    elif action == "rename" and values:
        value = draw(st.sampled_from(values))
        graph.rename(value, graph.unique_value_name(draw(st.sampled_from(["x", "y", "Relu"]))))
    elif (
        action == "replace"
        and values
        and node.outputs
        and node.outputs[0] is not None
        and not any(user.node.domain == "qir" for user in node.output.uses)
    ):
        graph.replace(node.output, draw(st.sampled_from(values)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_random_edits_keep_the_edges_and_do_not_depend_on_history(data: st.DataObject) -> None:
    graph = data.draw(graphs(depth=1))
    for _ in range(data.draw(st.integers(1, 8))):
        before = str(graph)
        if not graph.nodes:
            break
        try:
            edit(data.draw, graph)
        except QirError:
            assert str(graph) == before, "a refusal changes nothing"
    verify(graph)
    back = parse_graph(str(graph), data_beside(graph))
    assert difference(graph, back) is None
    for value in graph.values():  # a pass that goes on from the file sees the same names and orders
        hint = value.name
        assert graph.unique_value_name(hint) == back.unique_value_name(hint)
        own = [(u.node.name, u.index) for u in value.uses if u.node.graph is graph]
        twin = back.value(hint)
        assert own == [(u.node.name, u.index) for u in twin.uses if u.node.graph is back]
