"""Small deploy graphs for tests, one layer each, and how they are checked against the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from deploy_oracle import run_all

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute
from qir.ir.types import TensorType
from qir.runtime.deploy import DeploySession
from qir.runtime.deploy.params import pack_params


@dataclass
class OneLayer:
    """x -> AscendQuant -> op "layer" -> [Add "bias"] -> AscendDequant -> y, made by `graph`.

    `x` is the input's shape; `weight` int8, `bias` int32 (of a MatMul: in an Add behind it).
    """

    op: str
    x: tuple[int, ...]
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    quant: Mapping[str, Attribute] = field(default_factory=dict)
    dequant: Mapping[str, Attribute] = field(default_factory=dict)
    params: np.ndarray = field(default_factory=lambda: pack_params(np.array([0.013], np.float32)))
    opset: int = 13
    dtype: DType = DType.F32

    def graph(self) -> Graph:
        graph = Graph("one_layer", {"": self.opset})
        x = graph.add_input("x", TensorType(self.dtype, ("N", *self.x[1:])))
        written = {"scale": 20.0, "offset": -3.0, "dst_type": "INT8", **self.quant}
        value = graph.add("AscendQuant", [x], name="layer.quant", attributes=written).output
        inputs = [value]
        if self.weight is not None:
            inputs.append(graph.constant(self.weight, "weight"))
        if self.bias is not None and self.op != "MatMul":
            inputs.append(graph.constant(self.bias, "bias"))
        value = graph.add(self.op, inputs, name="layer", attributes=self.attributes).output
        if self.bias is not None and self.op == "MatMul":
            value = graph.add("Add", [value, graph.constant(self.bias, "bias")], name="add").output
        param = graph.constant(self.params, "layer.dequant.param")
        node = graph.add(
            "AscendDequant", [value, param], name="layer.dequant", attributes={"dtype": 0, **self.dequant}
        )
        y = node.output
        y.type = TensorType(DType.F32)
        graph.add_output(y)
        return graph

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Data that reach every integer, both clipped ends and ties."""
        x = np.random.default_rng(seed).uniform(-9, 9, self.x).astype(np.float32)
        x.reshape(-1)[:4] = (1e9, -1e9, 0.025, 0.075)
        with np.errstate(over="ignore"):
            return {"x": x.astype(self.dtype.numpy)}


def random_weight(*shape: int, seed: int = 1) -> np.ndarray:
    """int8 weights with both extremes among them."""
    weight = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    weight.reshape(-1)[:2] = (-128, 127)[: weight.size]
    return weight


def random_bias(channels: int, seed: int = 2) -> np.ndarray:
    """int32 biases."""
    return np.random.default_rng(seed).integers(-4000, 4000, channels).astype(np.int32)


def random_params(channels: int, seed: int = 3) -> np.ndarray:
    """A scale for each channel, packed."""
    scale = np.random.default_rng(seed).uniform(1e-5, 1e-3, channels).astype(np.float32)
    return pack_params(scale)


def conv(
    rank: int, channels: tuple[int, int], group: int = 1, size: int = 9, **attributes: object
) -> OneLayer:
    cout, cin = channels
    return OneLayer(
        "Conv",
        (2, cin, *[size] * rank),
        random_weight(cout, cin // group, *[3] * rank),
        random_bias(cout),
        {"group": group, "kernel_shape": (3,) * rank, **attributes},
        params=random_params(cout),
    )


def transposed(rank: int, group: int) -> OneLayer:
    attributes = {
        "group": group,
        "strides": (2,) * rank,
        "pads": (1,) * rank + (0,) * rank,
        "output_padding": (1,) * rank,
        "dilations": (2,) * rank,
    }
    weight = random_weight(4, 3, *[3] * rank)
    return OneLayer(
        "ConvTranspose",
        (2, 4, *[4] * rank),
        weight,
        random_bias(3 * group),
        attributes,
        params=random_params(3 * group),
    )


def check(layer: OneLayer, method: str = "float32", *, optimize: bool = True) -> np.ndarray:
    """Compare a layer with the oracle, outputs and integers to the bit; returns the output."""
    graph, feeds = layer.graph(), layer.feeds()
    values = run_all(graph, feeds)
    session = DeploySession(graph, threads=1, optimize=optimize)
    (info,) = session.layers
    assert info.method == method
    outputs, integers = session.run_integers(feeds)
    (expected,) = (values[o.name] for o in graph.outputs)
    assert outputs[0].dtype == expected.dtype
    assert np.array_equal(outputs[0], expected)
    assert np.array_equal(session.run(None, feeds)[0], expected)
    quantized, sums = values["layer.quant"], values[graph.node(info.last).output.name]
    assert np.array_equal(integers["layer"].input, quantized.q - quantized.offset)
    assert np.array_equal(integers["layer"].accumulator, sums)
    assert np.abs(sums).max() <= info.bound
    assert np.ptp(expected) > 0
    return expected
