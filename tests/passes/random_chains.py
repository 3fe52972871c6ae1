"""Chains of random layers whose channels differ by orders of magnitude, for equalization."""

from __future__ import annotations

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Value
from qir.ir.types import TensorType
from qir.passes.context import Context
from qir.passes.infer_types import InferTypes

CHANNELS = 4
BETWEEN = ("none", "Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "Add", "Mul", "Sub", "Div", "relu")
CONVS = ("Conv", "grouped", "depthwise", "ConvTranspose", "ConvTranspose grouped")


class Net:
    """A chain of random layers whose channels differ by orders of magnitude."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph("net", {"": 17})
        self.value = self.graph.add_input("x", TensorType(DType.F32, shape))

    def constant(self, *shape: int, spread: int | None = None) -> Value:
        array = self.random.uniform(0.5, 1, shape) * self.random.choice([-1, 1], shape)
        if spread is not None:
            along = [1] * len(shape)
            along[spread] = shape[spread]
            array *= 10.0 ** self.random.uniform(-2, 2, along)
        return self.graph.constant(array.astype(np.float32), "c")

    def add(self, op: str, *operands: Value | None, **attributes: Attribute) -> None:
        self.value = self.graph.add(op, [self.value, *operands], attributes=attributes).output

    def conv(self, kind: str, bias: bool) -> None:
        op = kind.split(" ")[0] if kind.startswith("Conv") else "Conv"
        groups = {"grouped": 2, "depthwise": CHANNELS, "ConvTranspose grouped": 2}.get(kind, 1)
        shape = (CHANNELS, CHANNELS // groups, 3, 3)
        vector = self.constant(CHANNELS, spread=0) if bias else None
        self.add(op, self.constant(*shape, spread=0), vector, group=groups, pads=(1, 1, 1, 1))

    def linear(self, op: str, bias: bool) -> None:
        weight = self.constant(CHANNELS, CHANNELS, spread=0)
        if op == "MatMul":
            self.add("MatMul", weight)
        else:
            vector = self.constant(1, CHANNELS) if bias else None
            self.add("Gemm", weight, vector, transB=int(bias), alpha=0.5, beta=2.0)

    def between(self, what: str, ndim: int) -> None:
        rest = (1,) * (ndim - 2)
        if what == "relu":
            self.add("Clip", self.graph.constant(np.float32(0), "zero"))
        elif what == "LeakyRelu":
            self.add(what, alpha=0.25)
        elif what == "PRelu":
            self.add(what, self.constant(CHANNELS, *rest))
        elif what.endswith("Pool"):
            if ndim == 4:
                self.add(what, kernel_shape=(2, 2))
        elif what in ("Add", "Sub", "Mul", "Div"):
            self.add(what, self.constant(*((CHANNELS, *rest) if what in ("Add", "Mul") else (1,))))
        elif what != "none":
            self.add(what)

    def done(self) -> Graph:
        self.graph.add_output(self.value)
        InferTypes().run(self.graph, Context())
        return self.graph
