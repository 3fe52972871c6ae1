"""Open quants of weights, and closing one of them by a method that looks at the weight itself."""

from __future__ import annotations

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.errors import PassError, QirError
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.scales import is_lost
from qir.runtime.weights import WeightMethod


def open_weight_spec(node: Node) -> QuantSpec | None:
    """The spec of a node that is an open quant of a constant and not of a bias; otherwise None."""
    if not is_quant(node) or quant_source(node).constant is None:
        return None
    quant = node.output.tensor.quant
    return quant if isinstance(quant, QuantSpec) and quant.qtype is not DType.I32 else None


def weight_params(node: Node, spec: QuantSpec, method: WeightMethod) -> QuantParams | None:
    """The scales of the quant of a constant; None when all its elements would become zero."""
    source = quant_source(node)
    assert source.constant is not None
    try:
        params = method.close(source.constant.array, spec)
    except QirError as error:
        readers = ", ".join(f"'{use.node.name}'" for use in node.output.uses)
        raise PassError(f"weight '{source.name}' of {readers}: {error}") from error
    return None if is_lost(params, float(np.abs(source.constant.array).max())) else params


def quant_source(node: Node) -> Value:
    """The value that a quant reads."""
    value = node.inputs[0]
    assert value is not None, f"quant '{node.name}' reads nothing; verify would have refused it"
    return value
