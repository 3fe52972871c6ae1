"""Layers that go from float to float16: each operand is cast down and back by a quant of its own."""

from __future__ import annotations

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.insertion.quant_nodes import new_quant


def store_in_float16(graph: Graph, layer: Node) -> bool:
    """Let a float32 layer read its operands in float16; False, leaving it alone, where it cannot.

    It cannot when an operand is not float32, or a constant leaves the range of float16.
    """
    operands = [value for value in layer.inputs if value is not None]
    if any(value.tensor.dtype is not DType.F32 for value in (*operands, layer.output)):
        return False
    if any(value.constant is not None and _overflows(value.constant) for value in operands):
        return False
    params = QuantParams(QuantSpec(DType.F16))
    for i, value in enumerate(layer.inputs):
        if value is not None:
            layer.set_input(i, new_quant(graph, [value], params, layer))
    return True


def _overflows(constant: Constant) -> bool:
    with np.errstate(over="ignore"):
        return not bool(np.isfinite(constant.array.astype(np.float16)).all())
