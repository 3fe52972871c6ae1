"""Quantized twins: beside each quantized layer of a graph, the same layer in float, on the same float input.

In the result every layer of the model computes in float. A quantized layer has a twin that reads the float
layer's own input through the layer's quants, so that the difference of both outputs is what quantizing this
layer alone does to it. Activations are quantized by the QuantizeLinear and DequantizeLinear of ONNX Runtime's
own domain, which go with any opset; weights and biases are constants with their fake-quantized values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.quants import bias_add, is_quant, quant_of, quantized_layers, unquantized
from qir.ir.types import UNKNOWN, QuantParams, QuantSpec, TensorType, Type
from qir.runtime.weights import fake_quantize

DOMAIN = "com.microsoft"
_ONNX_TYPES = {DType.F16: 10, DType.F32: 1, DType.F64: 11}


@dataclass(frozen=True)
class Twin:
    """A layer and the names of its two results: in float, and quantized."""

    layer: str
    op: str
    float_value: str
    twin_value: str


def with_twins(graph: Graph) -> tuple[Graph, tuple[Twin, ...]]:
    """A copy of a closed graph with twins, in running order; the graph is left as it is.

    PassError for a quant that is still open.
    """
    copy = graph.clone()
    copy.opsets.setdefault(DOMAIN, 1)
    builder = _Builder(copy)
    twins = tuple(builder.double(layer) for layer in quantized_layers(copy))
    for node in reversed(copy.nodes):
        if is_quant(node) and not node.output.is_read:
            copy.erase(node)
    return copy, twins


def without_quants(graph: Graph, *, rounded: bool) -> Graph:
    """A copy whose nodes read what quants give (`rounded`), or the float values behind them.

    Biases that are still open are read in float; PassError for another open quant.
    """
    copy = graph.clone()
    if rounded:
        copy.opsets.setdefault(DOMAIN, 1)
    builder = _Builder(copy)
    for i, output in enumerate(copy.outputs):
        copy.set_output(i, unquantized(output))
    for node in copy.nodes:
        for i, value in enumerate(() if is_quant(node) else node.inputs):
            quant = quant_of(value)
            if value is not None and quant is not None:
                is_open_bias = isinstance(quant, QuantSpec) and quant.qtype is DType.I32
                plain = is_open_bias or not rounded
                node.set_input(i, unquantized(value) if plain else builder.rounded(value, node))
    for node in reversed(copy.nodes):
        if is_quant(node) and not node.output.is_read:
            copy.erase(node)
    return copy


class _Builder:
    """Adds twins to one graph; operands that several twins share are made once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._rounded: dict[Value, Value] = {}

    def double(self, layer: Node) -> Twin:
        """The twin of a layer; the layer itself reads floats afterwards."""
        add = bias_add(layer)
        result = self._copy(layer, {})
        if add is not None:
            result = self._copy(add, {layer.output: result})
        for node in (layer, add):
            for i, value in enumerate(() if node is None else node.inputs):
                if node is not None and value is not None:
                    node.set_input(i, unquantized(value))
        return Twin(layer.name, layer.op, (add or layer).output.name, result.name)

    def _copy(self, node: Node, replaced: dict[Value, Value]) -> Value:
        inputs = [None if v is None else replaced.get(v) or self.rounded(v, node) for v in node.inputs]
        name = self._graph.unique_node_name(f"{node.name}.twin")
        made = self._graph.add(
            node.op,
            inputs,
            domain=node.domain,
            name=name,
            outputs=[self._graph.unique_value_name(f"{node.output.name}.twin")],
            types=[node.output.type],
            attributes=dict(node.attributes),
            before=node,
        )
        return made.output

    def rounded(self, value: Value, reader: Node) -> Value:
        """What a twin reads for an operand: a quant's rounded value, any other as it is."""
        quant = value.producer
        if quant is None or not is_quant(quant):
            return value
        if value not in self._rounded:
            params = value.tensor.quant
            if not isinstance(params, QuantParams):
                raise PassError(
                    f"quant '{value.name}', read by '{reader.name}', has no scale yet; run calibrate first"
                )
            self._rounded[value] = self._round(unquantized(value), params, quant)
        return self._rounded[value]

    def _round(self, source: Value, params: QuantParams, quant: Node) -> Value:
        if source.constant is not None:
            weights = source.constant.array
            fake = fake_quantize(weights, params).astype(weights.dtype, copy=False)
            return self._graph.constant(Constant.of(fake), f"{source.name}.fake")
        if params.spec.qtype.is_float:
            return self._cast(self._cast(source, params.spec.qtype, quant), source.tensor.dtype, quant)
        single = self._cast(source, DType.F32, quant)
        scale = self._graph.constant(params.scale_array().reshape(()), f"{source.name}.scale")
        zero = np.asarray(params.zero_point_array().reshape(()), params.spec.qtype.numpy)
        operands = (scale, self._graph.constant(zero, f"{source.name}.zero_point"))
        stored = self._insert("QuantizeLinear", [single, *operands], quant)
        back = self._insert("DequantizeLinear", [stored, *operands], quant)
        return self._cast(back, source.tensor.dtype, quant)

    def _cast(self, value: Value, dtype: DType | None, quant: Node) -> Value:
        """The value in a float type; itself when it has it already, or none is known."""
        if dtype is None or value.tensor.dtype in (dtype, None):
            return value
        return self._insert("Cast", [value], quant, "", {"to": _ONNX_TYPES[dtype]}, TensorType(dtype))

    def _insert(
        self,
        op: str,
        inputs: list[Value],
        quant: Node,
        domain: str = DOMAIN,
        attributes: dict[str, Attribute] | None = None,
        kind: Type = UNKNOWN,
    ) -> Value:
        name = self._graph.unique_node_name(f"{quant.name}.{op}")
        outputs = [self._graph.unique_value_name(name)]
        return self._graph.add(
            op,
            inputs,
            domain=domain,
            name=name,
            outputs=outputs,
            types=[kind],
            attributes=attributes,
            before=quant,
        ).output
