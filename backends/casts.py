"""Casts between the float types that layers compute in."""

from __future__ import annotations

from onnx import TensorProto

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType

_CODES = {DType.F16: TensorProto.FLOAT16, DType.F32: TensorProto.FLOAT}


def cast(graph: Graph, value: Value, dtype: DType, *, before: Node | None) -> Value:
    """`value` as `dtype`, by a Cast node."""
    name = graph.unique_node_name(f"{value.name}.{dtype.value}")
    node = graph.add(
        "Cast",
        [value],
        name=name,
        outputs=[graph.unique_value_name(name)],
        types=[TensorType(dtype, value.tensor.shape)],
        attributes={"to": _CODES[dtype]},
        before=before,
    )
    return node.output
