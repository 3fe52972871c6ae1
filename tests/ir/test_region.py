"""Cutting a part out of a graph: its inputs, its outputs, what it shares and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.region import extract
from qir.ir.types import tensor
from qir.ir.verify import verify

TEXT = """
graph @net(%a: f32[N,4], %b: f32[N,4], %c: f32[N,4]) {
  opsets {onnx=17}
  %one = const [1.0] : f32[1]
  %u = Add "first"(%b, %one) : f32[N,4]
  %v = Mul "second"(%u, %a) {note="kept"} @{k="v"} : f32[N,4]
  %w = Add "third"(%v, %u) : f32[N,4]
  %y = Sub "fourth"(%w, %c) : f32[N,4]
  return %y
}
"""


def test_a_part_has_what_crosses_its_border() -> None:
    graph = parse_graph(TEXT)
    before = str(graph)
    part = extract(graph, [graph.node("fourth"), graph.node("second")], [graph.value("y"), graph.value("v")])
    verify(part)
    assert [v.name for v in part.inputs] == ["a", "c", "u", "w"]
    assert [n.name for n in part.nodes] == ["second", "fourth"]
    assert [v.name for v in part.outputs] == ["y", "v"]
    assert (part.node("second").attributes, part.node("second").metadata) == ({"note": "kept"}, {"k": "v"})
    assert part.value("u").type == graph.value("u").type
    assert (str(graph), part.constants, part.opsets) == (before, (), {"": 17})


def test_constants_are_shared() -> None:
    graph = parse_graph(TEXT)
    part = extract(graph, [graph.node("first")], [graph.value("u")])
    assert part.value("one").constant is graph.value("one").constant
    assert [v.name for v in part.inputs] == ["b"]


def test_the_whole_is_a_part_too() -> None:
    graph = parse_graph(TEXT)
    assert str(extract(graph, graph.nodes, graph.outputs)) == str(graph)


def net_with_if() -> Graph:
    """y = If(flag){x' + w}{x'} with x' = Relu(x): the branches capture x' and the constant w."""
    graph = Graph("net", {"": 17})
    flag, x = graph.add_input("flag", tensor(DType.BOOL, [])), graph.add_input("x", tensor(DType.F32, [2]))
    w = graph.constant(np.ones(2, np.float32), "w")
    relu = graph.add("Relu", [x], outputs=["r"], types=[tensor(DType.F32, [2])]).output
    branches = {}
    for key, inputs in (("then_branch", [relu, w]), ("else_branch", [relu])):
        branch = Graph(key, parent=graph)
        made = branch.add("Sum", inputs, outputs=[f"{key}.y"], name=f"{key}.sum").output
        branch.add_output(made)
        branches[key] = branch
    choice = graph.add("If", [flag], outputs=["y"], name="if", attributes=branches)
    graph.add_output(choice.output)
    return graph


def test_what_subgraphs_capture_comes_along() -> None:
    graph = net_with_if()
    part = extract(graph, [graph.node("if")], [graph.value("y")])
    verify(part)
    assert [v.name for v in part.inputs] == ["flag", "r"]
    assert [v.name for v in part.constants] == ["w"]
    inner = part.node("if").subgraphs[1]
    assert inner.node("then_branch.sum").inputs == (part.value("r"), part.value("w"))
    assert graph.value("r").uses != part.value("r").uses


def test_what_cannot_be_extracted() -> None:
    graph = net_with_if()
    inner = graph.node("if").subgraphs[0].nodes[0]
    with pytest.raises(
        QirError, match=r"cannot extract node 'else_branch\.sum': it is not in graph 'net' itself"
    ):
        extract(graph, [inner], [])
    with pytest.raises(QirError, match="cannot return 'r': none of the extracted nodes makes it"):
        extract(graph, [graph.node("if")], [graph.value("r")])
    with pytest.raises(QirError, match="cannot return 'x'"):
        extract(graph, graph.nodes, [graph.value("x")])
