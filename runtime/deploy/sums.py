"""Writes the sums of an integer layer as float nodes, following its plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.runtime.deploy.build import Builder
from qir.runtime.deploy.layers import IntegerLayer
from qir.runtime.deploy.plan import SPLIT_INPUT, Method, Plan

T = TypeVar("T", bound=np.generic)
Feed = Callable[[str, npt.NDArray[np.float32]], Value]


class Sums(NamedTuple):
    """The accumulators (float32 or float64), and their extremes by name where int32 may overflow.

    `rounded` is what is dequantized: the accumulators, as float32 holds them where the bias is split.
    """

    accumulator: Value
    rounded: Value
    extremes: tuple[str, str] | None


def add_sums(graph: Graph, layer: IntegerLayer, plan: Plan, feed: Feed) -> Sums:
    """Make the layer compute its accumulators in floats; other nodes may take the place of its own.

    `feed(name, data)` makes a graph input of constant data.
    """
    if plan.method is Method.FLOAT32:
        accumulator = _in_place(graph, layer, plan)
        return Sums(accumulator, _with_high_bias(graph, layer, plan, accumulator, feed), None)
    build = Builder(graph, layer.name, layer.node)
    accumulator = (
        _on_float64(build, layer, plan) if plan.method is Method.FLOAT64 else _digits(build, layer, plan)
    )
    if layer.bias is not None and layer.node.op != "Gemm":
        accumulator = _with_bias(build, layer, accumulator)
    if not plan.may_overflow:
        return Sums(accumulator, accumulator, None)
    least, greatest = (
        build.node(op, part, [accumulator], {"keepdims": 0}, DType.F64)
        for op, part in (("ReduceMin", "least"), ("ReduceMax", "greatest"))
    )
    return Sums(accumulator, accumulator, (least.name, greatest.name))


def _in_place(graph: Graph, layer: IntegerLayer, plan: Plan) -> Value:
    """The layer's own nodes with float32 weights and bias."""
    node, last = layer.node, layer.last
    if layer.weight is not None:
        _set_constant(graph, node, 1, plan.digits[0])
    if layer.bias is not None:
        bias = layer.bias if plan.high_bias is None else layer.bias - plan.high_bias
        _set_constant(graph, last, 1 if last is not node else 2, bias)
    for each in (node, last):
        each.output.type = TensorType(DType.F32)
    return last.output


def _with_high_bias(graph: Graph, layer: IntegerLayer, plan: Plan, accumulator: Value, feed: Feed) -> Value:
    """Fed, as scales are: ONNX Runtime would add a constant to the bias of the Conv."""
    if plan.high_bias is None:
        return accumulator
    build = Builder(graph, layer.name, layer.dequants[0].node)
    bias = feed(f"{layer.name}.high_bias", along_channels(plan.high_bias.astype(np.float32), layer))
    return build.node("Add", "high", [accumulator, bias], dtype=DType.F32)


def along_channels(data: npt.NDArray[T], layer: IntegerLayer) -> npt.NDArray[T]:
    """One number per output channel shaped to lie along the channels of the layer's result."""
    if layer.weight is None or layer.node.op == "MatMul":
        return data
    return data.reshape(1, -1, *[1] * (layer.weight.ndim - 2))


def _set_constant(graph: Graph, node: Node, index: int, integers: npt.NDArray[np.integer[Any]]) -> None:
    old = node.input(index)
    assert old is not None
    node.set_input(index, graph.constant(integers.astype(np.float32), f"{old.name}.float"))


def _with_bias(build: Builder, layer: IntegerLayer, accumulator: Value) -> Value:
    assert layer.bias is not None
    bias = along_channels(layer.bias.astype(np.float64), layer)
    return build.node("Add", "biased", [accumulator, build.constant("bias", bias)], dtype=DType.F64)


def _on_float64(build: Builder, layer: IntegerLayer, plan: Plan) -> Value:
    """Gemm (with its bias) or MatMul (without) on float64."""
    x = layer.node.input(0)
    assert x is not None
    wide = build.cast(x, DType.F64, "wide")
    inputs = [wide, build.constant("weight", plan.digits[0].astype(np.float64))]
    if layer.node.op == "Gemm" and layer.bias is not None:
        inputs.append(build.constant("bias", layer.bias.astype(np.float64)))
    return build.node(layer.node.op, "sum", inputs, layer.node.attributes, DType.F64)


def _digits(build: Builder, layer: IntegerLayer, plan: Plan) -> Value:
    """The sum over all pairs of an input digit and a weight digit, in float64."""
    total: Value | None = None
    weights = [build.constant(f"digit{i}", d.astype(np.float32)) for i, d in enumerate(plan.digits)]
    for scale, x in _input_digits(build, layer, plan):
        for i, weight in enumerate(weights):
            part = build.node(layer.node.op, "sum", [x, weight], layer.node.attributes, DType.F32)
            part = build.cast(part, DType.F64, "wide")
            worth = scale * plan.base**i
            if worth != 1:
                factor = build.constant("factor", np.asarray(worth, np.float64))
                part = build.node("Mul", "scaled", [part, factor], dtype=DType.F64)
            total = part if total is None else build.node("Add", "total", [total, part], dtype=DType.F64)
    assert total is not None
    return total


def _input_digits(build: Builder, layer: IntegerLayer, plan: Plan) -> list[tuple[int, Value]]:
    """The input itself, or x = 256 x_1 + x_0 with x_1 = round(x / 256); all steps are exact in float32."""
    x = layer.node.input(0)
    assert x is not None
    if plan.input_digits == 1:
        return [(1, x)]
    down = build.constant("down", np.asarray(1 / SPLIT_INPUT, np.float32))
    up = build.constant("up", np.asarray(SPLIT_INPUT, np.float32))
    high = build.round(build.node("Mul", "ratio", [x, down], dtype=DType.F32))
    low = build.node(
        "Sub", "low", [x, build.node("Mul", "high", [high, up], dtype=DType.F32)], dtype=DType.F32
    )
    return [(SPLIT_INPUT, high), (1, low)]
