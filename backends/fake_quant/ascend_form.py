"""The form `ascend` of the fake-quant graph: the deploy graph's arithmetic in plain float ops.

    AscendQuant     -> Mul(1/scale) Round Add(offset) Clip(qmin, qmax) Sub(offset)
    AscendDequant   -> Mul(scale_x * scale_w)
    AscendAntiQuant -> Mul(scale)

A layer of a float16 model computes in float32 too, between Cast nodes in front and behind.

Weights and biases hold their integers as float32, so the layer sums integers: exactly, as long as every
partial sum stays below 2^24. The result then equals the deploy graph's to the bit. Source: the fake-quant
models that AMCT writes.

The opset stays. Before opset 11 there is no Round: adding and taking away 1.5 * 2^23 rounds half to even in
float32 for every |x| < 2^22, and what lies beyond is clipped anyway; and Clip takes its bounds as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from qir.backends.integers import Chain, IntegerForm, lower_integers
from qir.backends.layers import Integers, Operand, QuantizedLayer, QuantizedTensor
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.types import QuantParams, TensorType

_ROUND_SINCE = 11  # the opset that brought Round, and Clip with inputs
_HALF_EVEN = np.float32(1.5 * 2**23)


def lower(graph: Graph, integers: Integers | None = None) -> Graph:
    """Write a completely quantized graph in this form, in place; BackendError when it is not."""
    return lower_integers(graph, IntegerForm(_store, _quantize, _restore, _dequantize), integers)


def _store(_: Operand, integers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return integers.astype(np.float32)


def _quantize(graph: Graph, layer: str, value: Value, params: QuantParams, before: Node) -> Value:
    prefix = graph.unique_node_name(f"{layer}.quant.fakequant")
    chain = _Chain(graph, prefix, _float32(value.tensor), before)
    qmin, qmax = params.spec.qtype.integer_range
    scale = chain.scalar("scale", np.float32(1) / np.float32(params.scale[0]))
    offset = chain.scalar("offset", np.float32(params.zero_point[0]))
    if value.tensor.dtype is DType.F16:
        value = chain.add("Cast", "cast", [value], {"to": TensorProto.FLOAT})
    x = chain.add("Mul", "mul", [value, scale])
    if graph.opsets.get("", _ROUND_SINCE) >= _ROUND_SINCE:
        x = chain.add("Round", "round", [x])
        x = chain.add("Add", "add", [x, offset])
        bounds = [chain.scalar("min_val", np.float32(qmin)), chain.scalar("max_val", np.float32(qmax))]
        x = chain.add("Clip", "clip", [x, *bounds])
    else:
        magic = chain.scalar("half_even", _HALF_EVEN)
        x = chain.add("Add", "round_up", [x, magic])
        x = chain.add("Sub", "round", [x, magic])
        x = chain.add("Add", "add", [x, offset])
        x = chain.add("Clip", "clip", [x], {"min": float(qmin), "max": float(qmax)})
    return chain.add("Sub", "sub", [x, offset])


def _restore(graph: Graph, tensor: QuantizedTensor, quantized: Value) -> Value:
    name = graph.unique_node_name(f"{tensor.node.name}.anti_quant.fake_antiquant")
    chain = _Chain(graph, name, quantized.tensor, tensor.node)
    scale = chain.scalar("scale", np.float32(tensor.activation.scale[0]))
    return chain.add("Mul", "mul", [quantized, scale])


def _dequantize(graph: Graph, layer: QuantizedLayer, result: Value, before: Node | None) -> Chain:
    scale = layer.dequant_scale
    shape = result.tensor.shape
    if layer.weight is not None and layer.weight.params.spec.axis is not None:
        assert layer.weight.value.constant is not None
        scale = scale.reshape(1, -1, *[1] * (len(layer.weight.value.constant.shape) - 2))
    elif layer.node.op != "MatMul" or (shape is not None and len(shape) > 1):
        scale = scale.reshape(1, -1)  # a vector times a matrix is a vector and must stay one
    for node in (layer.node, layer.last):
        node.output.type = _float32(node.output.tensor)
    chain = _Chain(graph, f"{layer.name}.fakedequant", result.tensor, before)
    # The scale comes first: ONNX Runtime folds a Mul whose second operand is constant into the Conv in front,
    # which would then sum scaled weights instead of integers.
    first = chain.node("Mul", "mul", [chain.constant("dqscale", Constant.of(scale)), result])
    if layer.dtype is DType.F32:
        return Chain(first, first, 1)
    return Chain(first, chain.node("Cast", "cast", [first.output], {"to": TensorProto.FLOAT16}), 1)


def _float32(kind: TensorType) -> TensorType:
    """The type of what is float16 in the model and computed in float32 here."""
    return replace(kind, dtype=DType.F32) if kind.dtype is DType.F16 else kind


class _Chain:
    """Adds nodes `<prefix>.<part>` whose values are named `<prefix>.<part>.output0`, one after the other."""

    def __init__(self, graph: Graph, prefix: str, kind: TensorType, before: Node | None) -> None:
        self._graph, self._prefix, self._kind, self._before = graph, prefix, kind, before

    def node(
        self, op: str, part: str, inputs: list[Value], attributes: Mapping[str, Attribute] | None = None
    ) -> Node:
        """A node of that op, of the chain's type."""
        name = self._graph.unique_node_name(f"{self._prefix}.{part}")
        output = self._graph.unique_value_name(f"{name}.output0")
        return self._graph.add(
            op,
            inputs,
            name=name,
            outputs=[output],
            types=[self._kind],
            attributes=attributes,
            before=self._before,
        )

    def add(
        self, op: str, part: str, inputs: list[Value], attributes: Mapping[str, Attribute] | None = None
    ) -> Value:
        """The output of a node of that op."""
        return self.node(op, part, inputs, attributes).output

    def constant(self, part: str, held: Constant) -> Value:
        """A Constant node, as AMCT writes them."""
        node = self.node("Constant", part, [], {"value": held})
        node.output.type = held.type
        return node.output

    def scalar(self, part: str, number: np.float32) -> Value:
        """A Constant node without dimensions."""
        return self.constant(part, _scalar(number.tobytes()))


@lru_cache(1 << 12)
def _scalar(number: bytes) -> Constant:
    """A float32 without dimensions; many layers of many candidates share a few of them."""
    return Constant.of(np.frombuffer(number, np.float32).reshape(()))
