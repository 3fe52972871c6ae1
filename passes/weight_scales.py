"""Open quants of weights, and closing one of them by a method that looks at the weight itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.errors import PassError, QirError
from qir.ir.node import Node, Value
from qir.ir.quants import coarse_quant, is_coarse, is_quant
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.compensation import rest_of_weights
from qir.runtime.scales import is_lost
from qir.runtime.weights import Arq, WeightMethod


def open_weight_spec(node: Node) -> QuantSpec | None:
    """The spec of a node that is an open quant of a constant and not of an int32 bias; otherwise None."""
    if not is_quant(node) or quant_source(node).constant is None:
        return None
    quant = node.output.tensor.quant
    return quant if isinstance(quant, QuantSpec) and quant.qtype is not DType.I32 else None


def weight_params(node: Node, spec: QuantSpec, method: WeightMethod) -> QuantParams | None:
    """The scales of the quant of a constant; None when all its elements would become zero.

    With error compensation the first of the two quants gets the range of the weights and the second, once the
    first is closed, that of the rest, whatever the method: nothing is gained from clipping.
    PassError for weights that are no finite floating-point numbers.
    """
    source, coarse = quant_source(node), coarse_quant(node)
    assert source.constant is not None
    weights = source.constant.array
    if spec.qtype.is_float:
        return QuantParams(spec)
    try:
        if coarse is not None:
            return rest_of_weights(weights, closed_params(coarse), spec)
        params = (Arq() if is_coarse(node) else method).close(weights, spec)
    except QirError as error:
        readers = ", ".join(f"'{use.node.name}'" for use in node.output.uses)
        raise PassError(f"weight '{source.name}' of {readers}: {error}") from error
    return None if is_lost(params, float(np.abs(weights).max())) and not is_coarse(node) else params


def closed_params(quant: Node) -> QuantParams:
    """The parameters of a quant; PassError while it is open."""
    params = quant.output.tensor.quant
    if not isinstance(params, QuantParams):
        raise PassError(f"quant '{quant.name}' has no scale yet, which that of its rest follows from")
    return params


def with_coarse(quants: Iterable[Node]) -> list[Node]:
    """Open quants as they are to be closed: the first of two for error compensation in front of its rest."""
    found: list[Node] = []
    for quant in quants:
        coarse = coarse_quant(quant)
        if coarse is not None and isinstance(coarse.output.tensor.quant, QuantSpec):
            found.append(coarse)
        found.append(quant)
    return found


def too_large(node: Node, spec: QuantSpec) -> str | None:
    """Why the quant of a constant cannot be a cast; None when it can, or is none."""
    constant, kind = quant_source(node).constant, spec.qtype.numpy if spec.qtype.is_float else None
    if constant is None or kind is None:
        return None
    with np.errstate(over="ignore"):
        if np.isfinite(constant.array.astype(kind)).all():
            return None
    largest = float(np.abs(constant.array).max())
    name = quant_source(node).name
    return f"'{name}' leaves the range of {spec.qtype.word}: its largest magnitude is {largest:.3g}"


def quant_source(node: Node) -> Value:
    """The value that a quant reads."""
    value = node.inputs[0]
    assert value is not None, f"quant '{node.name}' reads nothing; verify would have refused it"
    return value
