"""Runs a pass on a graph and compares what ONNX Runtime computes before and after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.types import tensor
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.context import Context, RewriteLog
from qir.runtime.session import Session

Array = npt.NDArray[np.generic]


def parse(text: str) -> Graph:
    return parse_graph(text, None)


def random_feeds(graph: Graph, seed: int = 0, symbols: Mapping[str, int] | None = None) -> dict[str, Array]:
    """One seeded array per input: normal floats, integers and booleans of 0 and 1; unknown sizes are 2."""
    random = np.random.default_rng(seed)
    sizes = symbols or {}
    feeds: dict[str, Array] = {}
    for value in graph.inputs:
        dtype, shape = value.tensor.dtype, value.tensor.shape
        assert dtype is not None
        assert shape is not None
        dims = [d if isinstance(d, int) else sizes.get(d or "", 2) for d in shape]
        integer = dtype.is_integer or dtype is DType.BOOL
        array = random.integers(0, 2, dims) if integer else random.standard_normal(dims)
        feeds[value.name] = np.asarray(array).astype(dtype.numpy)
    return feeds


def compute(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    return Session(graph, threads=1, optimize=False).run(feeds)


def run_exactly(
    item: Pass, graph: Graph, tolerance: float = 0.0, symbols: Mapping[str, int] | None = None
) -> RewriteLog:
    """Run a pass on `graph`; outputs must stay the same within `tolerance` of the largest number of each."""
    feeds = random_feeds(graph, symbols=symbols)
    before = compute(graph, feeds)
    context = Context()
    text = str(graph)
    changed = item.run(graph, context)
    verify(graph)
    assert changed == (str(graph) != text)
    after = compute(graph, feeds)
    assert list(after) == list(before)
    for name, expected in before.items():
        actual = _text(after[name])
        assert actual.dtype == expected.dtype
        assert after[name].shape == expected.shape
        if expected.dtype.kind == "f":
            assert_near(actual, expected, tolerance)
        else:
            assert np.array_equal(actual, _text(expected))
    return context.rewrites


def _text(array: Array) -> Array:
    """Strings as bytes, which constants hold, while ONNX Runtime gives text."""
    if array.dtype != object:
        return array
    flat = [x.encode() if isinstance(x, str) else x for x in array.reshape(-1).tolist()]
    return np.array([*flat, None], object)[:-1].reshape(array.shape)


def assert_near(actual: Array, expected: Array, tolerance: float) -> None:
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    assert np.isfinite(b).all(), "the test itself computes something infinite"
    worst = np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-30)
    assert worst <= tolerance, f"outputs differ by {worst:.2g} of their largest number"


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def chain(op: str, length: int) -> Graph:
    """`length` nodes of a unary op one after another on a vector."""
    graph = Graph("chain", {"": 17})
    value = graph.add_input("x", tensor(DType.F32, (4,)))
    for i in range(length):
        value = graph.add(op, [value], name=f"n{i}", types=[value.type]).output
    graph.add_output(value)
    return graph
