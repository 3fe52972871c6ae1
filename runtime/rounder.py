"""Writes rounding into a graph as plain ops: what readers of a quant see, where a graph has no quants.

Activations are quantized by the QuantizeLinear and DequantizeLinear of ONNX Runtime's own domain, which go
with any opset; weights and biases are constants with their fake-quantized values.
"""

from __future__ import annotations

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.quants import OperandPrecision, is_quant, unquantized, value_precision
from qir.ir.types import UNKNOWN, QuantParams, TensorType, Type
from qir.runtime.compensation import rounded_array

DOMAIN = "com.microsoft"
"""The domain that a graph with rounding needs."""
_ONNX_TYPES = {DType.F16: 10, DType.F32: 1, DType.F64: 11}


class Rounder:
    """Adds rounding to one graph; what is rounded alike twice is made once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[Value, OperandPrecision], Value] = {}

    def rounded(self, value: Value, reader: Node) -> Value:
        """What `reader` sees of an operand: a quant's rounded value, any other as it is.

        PassError for a quant that is still open.
        """
        quant = value.producer
        if quant is None or not is_quant(quant):
            return value
        return self.round(unquantized(value), closed_precision(value, reader), quant)

    def round(self, source: Value, precision: OperandPrecision, before: Node | None) -> Value:
        """`source` as it is in a closed precision; nodes are put in front of `before`, or at the end."""
        if (source, precision) not in self._made:
            self._made[source, precision] = self._rounded(source, precision, before)
        return self._made[source, precision]

    def _rounded(self, source: Value, precision: OperandPrecision, before: Node | None) -> Value:
        if source.constant is not None:
            weights = source.constant.array
            fake = rounded_array(weights, precision).astype(weights.dtype, copy=False)
            return self._graph.constant(Constant.of(fake), f"{source.name}.fake")
        assert isinstance(precision.quant, QuantParams)
        first = self._round(source, precision.quant, before)
        if precision.rest is None:
            return first
        assert isinstance(precision.rest, QuantParams)
        left = self.minus(source, first, before)
        return self.plus(first, self._round(left, precision.rest, before), before)

    def minus(self, left: Value, right: Value, before: Node | None) -> Value:
        """What rounding leaves of a value."""
        return self._insert("Sub", [left, right], before, "", kind=left.tensor)

    def plus(self, left: Value, right: Value, before: Node | None) -> Value:
        """The sum of the two parts of a value."""
        return self._insert("Add", [left, right], before, "", kind=right.tensor)

    def _round(self, source: Value, params: QuantParams, before: Node | None) -> Value:
        if params.spec.qtype.is_float:
            return self._cast(self._cast(source, params.spec.qtype, before), source.tensor.dtype, before)
        scale = self._graph.constant(params.scale_array().reshape(()), f"{source.name}.scale")
        zero = np.asarray(params.zero_point_array().reshape(()), params.spec.qtype.numpy)
        return self.round_by(source, scale, self._graph.constant(zero, f"{source.name}.zero_point"), before)

    def round_by(self, source: Value, scale: Value, zero_point: Value, before: Node | None) -> Value:
        """`source` rounded by scale and zero point that are values of the graph, too."""
        single = self._cast(source, DType.F32, before)
        stored = self._insert("QuantizeLinear", [single, scale, zero_point], before)
        single_type = TensorType(DType.F32)  # of layers in float16, too: the cast back depends on it
        back = self._insert("DequantizeLinear", [stored, scale, zero_point], before, kind=single_type)
        return self._cast(back, source.tensor.dtype, before)

    def _cast(self, value: Value, dtype: DType | None, before: Node | None) -> Value:
        """The value in a float type; itself when it has it already, or none is known."""
        if dtype is None or value.tensor.dtype in (dtype, None):
            return value
        return self._insert("Cast", [value], before, "", {"to": _ONNX_TYPES[dtype]}, TensorType(dtype))

    def _insert(
        self,
        op: str,
        inputs: list[Value],
        before: Node | None,
        domain: str = DOMAIN,
        attributes: dict[str, Attribute] | None = None,
        kind: Type = UNKNOWN,
    ) -> Value:
        name = self._graph.unique_node_name(f"{inputs[0].name}.{op}")
        outputs = [self._graph.unique_value_name(name)]
        return self._graph.add(
            op,
            inputs,
            domain=domain,
            name=name,
            outputs=outputs,
            types=[kind],
            attributes=attributes,
            before=before,
        ).output


def closed_precision(value: Value, reader: Node) -> OperandPrecision:
    """How the result of a quant is stored; PassError while a scale is missing."""
    precision = value_precision(value)
    assert precision is not None, f"'{value.name}' is not the result of a quant"
    if not precision.is_closed:
        raise PassError(
            f"quant '{value.name}', read by '{reader.name}', has no scale yet; run calibrate first"
        )
    return precision
