"""Evaluation of constant nodes: one session where possible, and never an abort."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.types import TensorType, tensor
from qir.runtime import fold as fold_module
from qir.runtime.fold import evaluate_constants
from qir.runtime.session import Session


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each session that folding opens."""
    opened: list[int] = []

    class Counted(Session):
        def __init__(self, graph: Graph, *, threads: int | None = None, optimize: bool = True) -> None:
            opened.append(len(graph.nodes))
            super().__init__(graph, threads=threads, optimize=optimize)

    monkeypatch.setattr(fold_module, "Session", Counted)
    return opened


def chain() -> tuple[Graph, list[Node]]:
    """a + b -> s; Sqrt(s) -> q; Shape(q) -> n; and a Relu of the graph input that reads q."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, [2]))
    a = graph.constant(np.array([1, 7], np.float32), "a")
    b = graph.constant(np.array([3, 9], np.float32), "b")
    s = graph.add("Add", [a, b], outputs=["s"], name="sum")
    q = graph.add("Sqrt", [s.output], outputs=["q"], name="root")
    n = graph.add("Shape", [q.output], outputs=["n"], name="shape")
    graph.add_output(graph.add("Add", [x, q.output], name="read").output)
    return graph, [s, q, n]


def test_all_in_one_session(sessions: list[int]) -> None:
    graph, nodes = chain()
    before = str(graph)
    found = evaluate_constants(graph, nodes)
    assert found[graph.value("s")] == Constant.of(np.array([4, 16], np.float32))
    assert found[graph.value("q")] == Constant.of(np.array([2, 4], np.float32))
    assert found[graph.value("n")] == Constant.of(np.array([2], np.int64))
    assert sessions == [3]
    assert str(graph) == before


def test_nodes_that_read_an_input_are_left_out() -> None:
    graph, nodes = chain()
    found = evaluate_constants(graph, [*nodes, graph.node("read")])
    assert [v.name for v in found] == ["s", "q", "n"]


def test_a_failing_node_takes_only_its_readers_with_it(sessions: list[int]) -> None:
    graph, nodes = chain()
    bad = graph.add(
        "Reshape", [graph.value("s"), graph.constant(np.array([3], np.int64), "three")], name="bad"
    )
    after = graph.add("Relu", [bad.output], name="after")
    good = [graph.add("Neg", [graph.value("q")], name=f"neg{i}", outputs=[f"neg{i}"]) for i in range(20)]
    found = evaluate_constants(graph, [*nodes[:2], bad, after, *good, nodes[2]])
    assert {v.name for v in found} == {"s", "q", "n", *(f"neg{i}" for i in range(20))}
    assert len(sessions) <= 12


def test_unknown_ops_are_left_out() -> None:
    graph, nodes = chain()
    graph.opsets["my"] = 1
    odd = graph.add("Swirl", [graph.value("s")], name="odd", domain="my")
    assert len(evaluate_constants(graph, [odd, *nodes])) == 3


def test_types_without_numpy_pass_through() -> None:
    graph = Graph("net", {"": 17})
    a = graph.constant(np.array([1.5, 2.5], np.float32), "a")
    to_bf16 = graph.add("Cast", [a], outputs=["h"], types=[tensor(DType.BF16, [2])], attributes={"to": 16})
    back = graph.add("Cast", [to_bf16.output], outputs=["f"], attributes={"to": 1})
    found = evaluate_constants(graph, [to_bf16, back])
    assert {v.name: c.array.tolist() for v, c in found.items()} == {"f": [1.5, 2.5]}
    to_bf16.output.type = TensorType()
    assert evaluate_constants(graph, [to_bf16, back]) == {}  # nothing says that h cannot be fetched


def test_strings_and_scalars() -> None:
    graph = Graph("net", {"": 17})
    a = graph.constant(np.float32(2), "a")
    text = graph.add("Cast", [a], outputs=["t"], attributes={"to": 8})
    scalar = graph.add("Neg", [a], outputs=["m"])
    found = evaluate_constants(graph, [text, scalar])
    assert found[text.output] == Constant.of(np.array(b"2", object))
    assert found[scalar.output] == Constant.of(np.float32(-2))


def test_max_bytes() -> None:
    graph = Graph("net", {"": 17})
    shape = graph.constant(np.array([100, 100], np.int64), "shape")
    big = graph.add("ConstantOfShape", [shape], outputs=["big"])
    size = graph.add("Size", [big.output], outputs=["size"])
    assert [v.name for v in evaluate_constants(graph, [big, size], max_bytes=1000)] == ["size"]


def test_nothing_to_do(sessions: list[int]) -> None:
    graph, _ = chain()
    assert evaluate_constants(graph, []) == {}
    assert sessions == []
