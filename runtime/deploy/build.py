"""Adds nodes of exact float arithmetic to a graph under lowering, whatever its opset has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.types import TensorType

_ONNX_TYPES = {
    DType.F32: 1, DType.I8: 3, DType.I16: 5, DType.I32: 6, DType.BOOL: 9, DType.F16: 10, DType.F64: 11,
}  # fmt: skip
_NEW_CLIP = _NEW_ROUND = 11
_HALF_EVEN = np.float32(1.5 * 2**23)
"""Adding and taking it away rounds |x| < 2^22 half to even in float32: opsets before 11 have no Round."""


def onnx_type(dtype: DType) -> int:
    """The number by which the attribute `to` of a Cast calls a type."""
    return _ONNX_TYPES[dtype]


class Builder:
    """Adds nodes named `<prefix>.<part>` in front of one node of a graph (None: at the end)."""

    def __init__(self, graph: Graph, prefix: str, before: Node | None) -> None:
        self._graph, self._prefix, self._before = graph, prefix, before
        self._opset = graph.opsets.get("", graph.opsets.get("ai.onnx", _NEW_ROUND))

    def node(
        self,
        op: str,
        part: str,
        inputs: Sequence[Value | None],
        attributes: Mapping[str, Attribute] | None = None,
        dtype: DType | None = None,
    ) -> Value:
        """The output of a new node."""
        name = f"{self._prefix}.{part}"
        made = self._graph.add(
            op,
            inputs,
            name=self._graph.unique_node_name(name),
            outputs=[self._graph.unique_value_name(name)],
            types=[TensorType(dtype)],
            attributes=attributes,
            before=self._before,
        )
        return made.output

    def constant(self, part: str, data: npt.NDArray[Any]) -> Value:
        """A new constant."""
        return self._graph.constant(data, f"{self._prefix}.{part}")

    def cast(self, x: Value, to: DType, part: str) -> Value:
        """`x` in another element type."""
        return self.node("Cast", part, [x], {"to": _ONNX_TYPES[to]}, to)

    def clip(self, x: Value, low: float, high: float) -> Value:
        """float32 `x` limited to [low, high]."""
        if self._opset < _NEW_CLIP:
            return self.node("Clip", "clip", [x], {"min": float(low), "max": float(high)}, DType.F32)
        limits = [
            self.constant("low", np.asarray(low, np.float32)),
            self.constant("high", np.asarray(high, np.float32)),
        ]
        return self.node("Clip", "clip", [x, *limits], dtype=DType.F32)

    def round(self, x: Value) -> Value:
        """float32 `x`, |x| < 2^22, rounded half to even."""
        if self._opset >= _NEW_ROUND:
            return self.node("Round", "round", [x], dtype=DType.F32)
        magic = self.constant("half_even", np.asarray(_HALF_EVEN))
        raised = self.node("Add", "round_up", [x, magic], dtype=DType.F32)
        return self.node("Sub", "round", [raised, magic], dtype=DType.F32)
