"""Integers of 16 bits below opset 21, in plain float ops: what QuantizeLinear and DequantizeLinear compute.

    x -> Div(scale) Round Add(zero point) Clip Sub(zero point) Mul(scale)
    integers -> Cast Sub(zero point) Mul(scale)

Steps that change nothing (a zero point of 0) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.types import QuantParams, TensorType


@dataclass(frozen=True)
class PlainOps:
    """Adds float nodes named `<name>.<step>` in front of a node."""

    graph: Graph
    name: str
    before: Node

    def rounded(self, value: Value, params: QuantParams) -> Value:
        """A float32 value, rounded to the integers of `params` (one scale), as float32."""
        scale, zero = params.scale_array().reshape(()), np.float32(params.zero_point[0])
        qmin, qmax = (np.float32(bound) for bound in params.spec.qtype.integer_range)
        x = self._add("Div", "div", value, scale)
        x = self._add("Round", "round", x)
        x = self._add("Add", "add", x, zero) if zero else x
        x = self._add("Clip", "clip", x, qmin, qmax)
        x = self._add("Sub", "sub", x, zero) if zero else x
        return self._add("Mul", "mul", x, scale)

    def restored(self, stored: Value, params: QuantParams, axis: int | None) -> Value:
        """Stored integers as float32; scales along `axis` of what is stored."""
        rank = 0 if axis is None or stored.tensor.shape is None else len(stored.tensor.shape) - axis - 1
        shape = () if axis is None else (-1, *[1] * rank)
        x = self._add("Cast", "cast", stored, to=TensorProto.FLOAT)
        if any(params.zero_point):
            x = self._add("Sub", "sub", x, params.zero_point_array().astype(np.float32).reshape(shape))
        return self._add("Mul", "mul", x, params.scale_array().reshape(shape))

    def _add(
        self,
        op: str,
        step: str,
        value: Value,
        *constants: npt.NDArray[np.float32] | np.float32,
        to: int | None = None,
    ) -> Value:
        name = self.graph.unique_node_name(f"{self.name}.{step}")
        held = [self.graph.constant(np.asarray(c), f"{name}.{i}") for i, c in enumerate(constants, 1)]
        attributes: dict[str, Attribute] = {} if to is None else {"to": to}
        return self.graph.add(
            op,
            [value, *held],
            name=name,
            outputs=[self.graph.unique_value_name(f"{name}.output0")],
            types=[TensorType(DType.F32, value.tensor.shape)],
            attributes=attributes,
            before=self.before,
        ).output
