"""Multiply-accumulate counts against numbers worked out by hand."""

from __future__ import annotations

import pytest

from qir.ir.cost import macs
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node
from qir.ir.types import UNKNOWN, Dim, tensor

Shape = tuple[Dim, ...] | None


def node(op: str, shapes: list[Shape], result: Shape, **attributes: Attribute) -> Node:
    graph = Graph("g", {"": 13})
    inputs = [
        graph.add_input(f"i{n}", UNKNOWN if s is None else tensor(DType.F32, s)) for n, s in enumerate(shapes)
    ]
    kind = UNKNOWN if result is None else tensor(DType.F32, result)
    return graph.add(op, inputs, outputs=["y"], types=[kind], attributes=attributes)


@pytest.mark.parametrize(
    ("op", "shapes", "result", "attributes", "count"),
    [
        ("Conv", [(1, 3, 8, 8), (16, 3, 3, 3)], (1, 16, 4, 4), {}, 16 * 16 * 27),
        ("Conv", [("N", 4, 8, 8), (4, 1, 3, 3)], ("N", 4, 8, 8), {"group": 4}, 4 * 64 * 9),
        ("Conv", [(2, 3, 8), (5, 3, 3)], (2, 5, 6), {}, 2 * 5 * 6 * 9),
        ("ConvTranspose", [(1, 6, 8, 8), (6, 2, 2, 2)], (1, 4, 16, 16), {"group": 2}, 6 * 64 * 8),
        ("Gemm", [(5, 8), (8, 3), (3,)], (5, 3), {}, 120),
        ("Gemm", [(5, 8), (3, 8)], (5, 3), {"transB": 1}, 120),
        ("Gemm", [(8, 5), (8, 3)], (5, 3), {"transA": 1}, 120),
        ("MatMul", [("N", 7, 8), (8, 3)], ("N", 7, 3), {}, 168),
        ("MatMul", [(2, 1, 7, 8), (5, 8, 3)], (2, 5, 7, 3), {}, 2 * 5 * 168),
        ("MatMul", [(8,), (8, 3)], (3,), {}, 24),
        ("MatMul", [(7, 8), (8,)], (7,), {}, 56),
        ("LSTM", [(10, 2, 3), (1, 16, 3), (1, 16, 4)], None, {}, 20 * 16 * 7),
        ("GRU", [(10, 2, 3), (2, 12, 3), (2, 12, 4)], None, {}, 20 * 2 * 12 * 7),
        ("RNN", [(10, 2, 3), (1, 4, 3), (1, 4, 4)], None, {}, 20 * 4 * 7),
        ("Attention", [(2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 5)], (2, 4, 6, 5), {}, 2 * 4 * 6 * 9 * (8 + 5)),
        ("Attention", [(2, 6, 32), (2, 9, 16), (2, 9, 16)], (2, 6, 32), {"q_num_heads": 4}, 2 * 6 * 9 * 64),
        ("Einsum", [(2, 3, 4), (4, 5)], (2, 3, 5), {"equation": "bij,jk->bik"}, 120),
        ("Einsum", [(7, 1, 3, 4), (2, 4, 5)], None, {"equation": "...ij, ...jk -> ...ik"}, 7 * 2 * 60),
        ("Einsum", [(3, 4)], (3,), {"equation": "ij->i"}, 0),
        ("Einsum", [(3, 4), None], None, {"equation": "ij,jk"}, None),
        ("Relu", [(1, 3)], (1, 3), {}, 0),
        ("AveragePool", [(1, 3, 8, 8)], (1, 3, 4, 4), {}, 0),
        ("Conv", [(1, 3, "H", 8), (16, 3, 3, 3)], (1, 16, "K", 6), {}, None),
        ("MatMul", [None, (8, 3)], None, {}, None),
    ],
)
def test_counts(
    op: str, shapes: list[Shape], result: Shape, attributes: dict[str, Attribute], count: int | None
) -> None:
    assert macs(node(op, shapes, result, **attributes)) == count


def test_shapes_seen_in_a_run_fill_the_gaps() -> None:
    conv = node("Conv", [("N", 3, "H", "W"), (16, 3, 3, 3)], None)
    assert macs(conv) is None
    assert macs(conv, {"y": (2, 16, 4, 4)}) == 2 * 256 * 27


def test_custom_domains_are_not_counted() -> None:
    found = node("Conv", [(1, 3, 8, 8), (16, 3, 3, 3)], (1, 16, 4, 4))
    found.domain = "com.acme"
    assert macs(found) == 0
