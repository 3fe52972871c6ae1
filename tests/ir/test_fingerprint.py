"""Fingerprints: equal for what computes the same by the same names, and a sentence for every difference."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from random_graphs import graphs

from qir.ir.dtypes import DType
from qir.ir.fingerprint import Fingerprint, changes, fingerprint_of, listed
from qir.ir.graph import Graph
from qir.ir.types import QuantSpec, TensorType, tensor


def net() -> Graph:
    """x -> Conv "c" -> Relu "r" -> Conv "d" -> y, both convolutions by the constant w."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 2, 4, 4]))
    w = graph.constant(np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1), "w")
    pads = {"pads": (0, 0, 0, 0)}
    conv = graph.add("Conv", [x, w], outputs=["a"], name="c", attributes=pads)
    relu = graph.add("Relu", [conv.output], outputs=["b"], name="r")
    graph.add_output(graph.add("Conv", [relu.output, w], outputs=["y"], name="d", attributes=pads).output)
    return graph


def changed(graph: Graph) -> str:
    return "; ".join(changes(fingerprint_of(net()), fingerprint_of(graph)))


def test_equal_graphs_and_json() -> None:
    assert changed(net()) == ""
    found = fingerprint_of(net())
    assert Fingerprint.of_json(json.loads(json.dumps(found.to_json()))) == found


@given(graph=graphs())
@settings(max_examples=40, deadline=None)
def test_any_graph_comes_back_from_json_and_equals_its_clone(graph: Graph) -> None:
    found = fingerprint_of(graph)
    assert Fingerprint.of_json(json.loads(json.dumps(found.to_json()))) == found
    assert changes(found, fingerprint_of(graph.clone())) == []


def test_quants_types_and_metadata_do_not_count() -> None:
    graph = net()
    kind = TensorType(DType.F32, None, QuantSpec(DType.I8))
    for name, reader, index in (("b", "d", 0), ("w", "c", 1)):
        quant = graph.add("quant", [graph.value(name)], domain="qir", types=[kind], before=graph.node(reader))
        graph.node(reader).set_input(index, quant.output)
    graph.value("b").type = tensor(DType.F32, ["N", 2, 4, 4])
    graph.node("c").metadata["qir.float"] = "no"
    assert changed(graph) == ""


def test_each_difference_is_a_sentence() -> None:
    graph = net()
    graph.node("c").attributes["pads"] = (1, 1, 1, 1)
    assert changed(graph) == "nodes have changed: 'c' (Conv): pads was [0,0,0,0], is [1,1,1,1]"
    graph = net()
    graph.node("d").set_input(1, graph.constant(np.ones((2, 2, 1, 1), np.float32), "w2"))
    assert changed(graph) == "nodes have changed: 'd' (Conv): it reads other values"
    graph = net()
    graph.add("Neg", [graph.value("y")], name="n")
    assert changed(graph) == "nodes were added: 'n' (Neg)"
    graph = net()
    graph.node("d").set_input(0, graph.value("a"))
    graph.erase(graph.node("r"))
    assert changed(graph).startswith("nodes are gone: 'r' (Relu); nodes have changed: 'd'")
    graph = net()
    graph.inputs[0].type = tensor(DType.F32, [1, 2, 4, 4])
    assert changed(graph) == "input 'x' was f32[N,2,4,4] and is f32[1,2,4,4]"
    graph = net()
    graph.opsets[""] = 18
    assert changed(graph) == "the versions of operator sets differ"
    graph = net()
    graph.set_output(0, graph.value("b"))
    assert changed(graph) == "other values are returned"


def test_constants_are_named_by_the_layers_that_read_them() -> None:
    before, after = fingerprint_of(net()), fingerprint_of(net())
    after.constants["w"] = "another"  # type: ignore[index]
    assert changes(before, after) == ["constants of 'c', 'd' have changed"]


def test_bodies_count() -> None:
    def looped(bias: float) -> Graph:
        graph = net()
        body = Graph("body", {}, graph)
        extra = body.constant(np.float32([bias]), "extra")
        body.add_output(body.add("Add", [graph.value("y"), extra], name="inner").output)
        graph.add("If", [graph.constant(np.array(True), "yes")], name="if", attributes={"then_branch": body})
        return graph

    one, other = fingerprint_of(looped(1)), fingerprint_of(looped(2))
    assert changes(one, fingerprint_of(looped(1))) == []
    assert "'if' (If): then_branch was #" in changes(one, other)[0]


def test_long_lists_are_counted() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
