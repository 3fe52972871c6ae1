"""normalize-gemm computes what the graph computed before."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import tensor
from qir.passes.context import Context
from qir.passes.normalize_gemm import NormalizeGemm
from qir.runtime.session import Session

ROWS, K, N = 5, 7, 3


def gemm(
    bias: tuple[int, ...] | None,
    computed: bool,
    opset: int,
    transposed: bool,
    alpha: float,
    beta: float,
    dtype: DType = DType.F32,
) -> Graph:
    random = np.random.default_rng(3)
    graph = Graph("g", {"": opset})
    x = graph.add_input("x", tensor(dtype, (ROWS, K)))
    shape = (N, K) if transposed else (K, N)
    inputs = [x, graph.constant(random.standard_normal(shape).astype(dtype.numpy), "w")]
    if bias is not None:
        data = random.standard_normal(bias).astype(dtype.numpy)
        c = graph.add_input("c", tensor(dtype, bias)) if computed else graph.constant(data, "b")
        inputs.append(c)
    attributes = {"transB": int(transposed), "alpha": alpha, "beta": beta}
    node = graph.add("Gemm", inputs, outputs=["y"], attributes=attributes)
    after = graph.add("Relu", [node.output], outputs=["z"])
    graph.add_output(node.output)
    graph.add_output(after.output)
    return graph


@pytest.mark.parametrize("bias", [None, (), (1,), (N,), (1, N), (ROWS, 1), (ROWS, N), (1, 1)])
@pytest.mark.parametrize(
    ("computed", "opset", "transposed", "alpha", "beta"),
    [
        (False, 13, True, 1.0, 1.0),
        (False, 13, False, 0.7, -1.3),
        (False, 9, True, 1.0, 0.5),
        (False, 13, True, 2.0, 0.0),
        (True, 13, True, 1.0, 1.0),
        (True, 9, False, 0.5, 2.0),
    ],
)
def test_numbers_stay(
    bias: tuple[int, ...] | None, computed: bool, opset: int, transposed: bool, alpha: float, beta: float
) -> None:
    if bias is None and opset < 11:
        pytest.skip("Gemm had to have a bias before opset 11")
    random = np.random.default_rng(4)
    graph = gemm(bias, computed, opset, transposed, alpha, beta)
    feeds = {
        v.name: random.standard_normal([int(str(d)) for d in v.tensor.shape or ()]).astype(np.float32)
        for v in graph.inputs
    }
    expected = Session(graph).run(feeds)
    NormalizeGemm().run(graph, Context())
    node = graph.node("Gemm")
    assert (node.attributes["transB"], node.attributes["alpha"], node.attributes["beta"]) == (0, 1.0, 1.0)
    assert node.inputs[1].tensor.shape == (K, N)
    assert node.input(2) is None or node.input(2).tensor.shape == (N,)
    assert [v.name for v in graph.outputs] == ["y", "z"]
    found = Session(graph).run(feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bias", [None, (), (N,), (ROWS, N)])
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("beta", [0.0, -1.3])
def test_float16_stays_float16(bias: tuple[int, ...] | None, computed: bool, beta: float) -> None:
    random = np.random.default_rng(4)
    graph = gemm(bias, computed, 13, True, 0.7, beta, DType.F16)
    feeds = {
        v.name: random.standard_normal([int(str(d)) for d in v.tensor.shape or ()]).astype(np.float16)
        for v in graph.inputs
    }
    expected = Session(graph).run(feeds)
    assert NormalizeGemm().run(graph, Context())
    assert {v.tensor.dtype for v in graph.constants} == {DType.F16}
    found = Session(graph).run(feeds)
    for name, array in expected.items():
        assert found[name].dtype == np.float16
        np.testing.assert_allclose(found[name], array, rtol=1e-2, atol=1e-2)


def test_a_factor_that_float16_cannot_hold_is_refused() -> None:
    graph = gemm((N,), False, 13, False, 1e5, 1.0, DType.F16)
    log = Context()
    assert not NormalizeGemm().run(graph, log)
    assert graph.node("Gemm").attributes["alpha"] == 1e5
