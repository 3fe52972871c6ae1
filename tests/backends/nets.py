"""Small seeded nets for the backend tests, and the way to quantize them without calibration data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qir.backends.ascend.rules import RULES
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Value
from qir.ir.quants import quantized_layers
from qir.ir.types import QuantParams, TensorType, spec_of, tensor
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.passes.quantize_bias import QuantizeBias
from qir.passes.quantize_weights import QuantizeWeights
from qir.runtime.data import open_data
from qir.runtime.session import Session

F32 = DType.F32


class Net:
    """Builds a graph line by line; every result is float32 of the shape given."""

    def __init__(self, opset: int = 13, seed: int = 0) -> None:
        self.graph = Graph("net", {"": opset})
        self._random = np.random.default_rng(seed)

    def input(self, *shape: int | str, name: str = "x") -> Value:
        return self.graph.add_input(name, tensor(F32, shape))

    def weight(self, name: str, *shape: int, scale: float = 0.3) -> Value:
        data = self._random.standard_normal(shape).astype(np.float32) * np.float32(scale)
        return self.graph.constant(data, name)

    def add(
        self,
        op: str,
        name: str,
        inputs: list[Value | None],
        shape: tuple[int | str, ...] | None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Value:
        kind = TensorType(F32, shape)
        node = self.graph.add(
            op, inputs, name=name, outputs=[f"{name}_out"], types=[kind], attributes=attributes
        )
        return node.output

    def quantized(self, bits: int = 8, **skip: tuple[str, ...]) -> Graph:
        """The graph with weights and biases closed, activations as `close_activations` does."""
        context = Context(rules=RULES)
        InsertQuant(precision="int16" if bits == 16 else "int8", **skip).run(self.graph, context)
        QuantizeWeights().run(self.graph, context)
        close_activations(self.graph)
        QuantizeBias().run(self.graph, context)
        return self.graph


def close_activations(graph: Graph) -> None:
    """Give every layer's input a scale and zero point of its own, by its number (symmetric specs: zero 0)."""
    for i, layer in enumerate(quantized_layers(graph)):
        value = layer.inputs[0]
        assert value is not None
        spec = spec_of(value.tensor.quant)
        zero = 0 if spec.symmetric else 5 - 3 * (i % 20)
        step = (0.031 + 0.007 * i) / (1 if spec.qtype is DType.I8 else 200)
        if not isinstance(value.tensor.quant, QuantParams):
            value.type = value.tensor.with_quant(QuantParams.of(spec, step, zero))


def many_layers(opset: int = 13) -> Net:
    """Depthwise, dilated and grouped Conv, grouped ConvTranspose, AveragePool, Gemm, MatMul+Add."""
    net = Net(opset)
    x = net.input("N", 4, 8, 8)
    stem = net.add(
        "Conv", "stem", [x, net.weight("stem.w", 4, 1, 3, 3), net.weight("stem.b", 4)], ("N", 4, 8, 8),
        {"group": 4, "pads": (1, 1, 1, 1)},
    )  # fmt: skip
    left = net.add("Conv", "left", [stem, net.weight("left.w", 6, 4, 3, 3)], ("N", 6, 8, 8),
                   {"dilations": (2, 2), "pads": (2, 2, 2, 2)})  # fmt: skip
    right = net.add("Conv", "right", [stem, net.weight("right.w", 6, 2, 1, 1), net.weight("right.b", 6)],
                    ("N", 6, 8, 8), {"group": 2})  # fmt: skip
    both = net.add("Add", "both", [left, right], ("N", 6, 8, 8))
    up = net.add("ConvTranspose", "up", [both, net.weight("up.w", 6, 2, 2, 2), net.weight("up.b", 4)],
                 ("N", 4, 16, 16), {"group": 2, "strides": (2, 2)})  # fmt: skip
    pool = net.add("AveragePool", "pool", [up], ("N", 4, 4, 4), {"kernel_shape": (4, 4), "strides": (4, 4)})
    flat = net.add("Flatten", "flat", [pool], ("N", 64), {"axis": 1})
    fc = net.add("Gemm", "fc", [flat, net.weight("fc.w", 64, 10), net.weight("fc.b", 10)], ("N", 10))
    mm = net.add("MatMul", "mm", [fc, net.weight("mm.w", 10, 7)], ("N", 7))
    out = net.add("Add", "bias", [mm, net.weight("mm.b", 7)], ("N", 7))
    net.graph.add_output(out)
    return net


def samples(count: int = 3, *shape: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Seeded inputs called x."""
    random = np.random.default_rng(seed)
    return {"x": random.standard_normal((count, *(shape or (4, 8, 8)))).astype(np.float32)}


def run(graph: Graph, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output."""
    return next(iter(Session(graph, threads=1).run(feeds).values()))


def finished(graph: Graph, insert: InsertQuant) -> Graph:
    """The graph quantized by `insert`, with min-max ranges of seeded data."""
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    PassManager((insert,)).run(graph, context)
    PassManager("quantize-weights,calibrate{method=min-max},quantize-bias").run(graph, context)
    return graph
