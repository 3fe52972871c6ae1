"""Small graphs that several tests of the runtime run."""

from __future__ import annotations

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import Dim, tensor


def conv_net(batch: Dim = "N", seed: int = 0) -> Graph:
    """x [batch,3,8,8] -> conv1 -> Relu -> conv2 -> logits [batch,4]; the taps of interest are x and r."""
    draw = np.random.default_rng(seed)
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, [batch, 3, 8, 8]))
    w1 = graph.constant(draw.normal(size=(8, 3, 3, 3)).astype(np.float32), "w1")
    w2 = graph.constant(draw.normal(size=(4, 8, 3, 3)).astype(np.float32), "w2")
    conv1 = graph.add("Conv", [x, w1], outputs=["c1"], name="conv1")
    relu = graph.add("Relu", [conv1.output], outputs=["r"], name="relu")
    conv2 = graph.add("Conv", [relu.output, w2], outputs=["c2"], name="conv2")
    pool = graph.add("GlobalAveragePool", [conv2.output], outputs=["p"], name="pool")
    flat = graph.add("Flatten", [pool.output], outputs=["logits"], name="flatten")
    graph.add_output(flat.output)
    return graph


def elementwise(op: str, dtype: DType = DType.F32, shape: tuple[Dim, ...] = ("N", 4)) -> Graph:
    """x -> op -> y."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(dtype, shape))
    graph.add_output(graph.add(op, [x], outputs=["y"], name=f"{op.lower()}1").output)
    return graph


def images(count: int, seed: int = 1) -> np.ndarray:
    """Random samples for `conv_net`."""
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)
