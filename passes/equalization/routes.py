"""Finds where the values that a layer reads may be divided by a factor per channel at no cost.

From the layer's input upwards: positively homogeneous ops (f(x / s) = f(x) / s for s > 0) within channels let
a factor pass, arithmetic with constants takes part in it, and a layer, a normalization or a multiplication by
a constant takes it up. Every value on the way must have no other reader, for that one would see the factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.errors import PassError
from qir.ir.node import Node, Use, Value
from qir.ir.output_factors import output_factors
from qir.passes.constants import write_operand
from qir.passes.equalization.layer_weights import F64, LAYERS
from qir.passes.equalization.writes import Factors, Write

_WITHIN_CHANNELS = frozenset({
    "AveragePool", "Dropout", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Identity", "LeakyRelu",
    "LpPool", "MaxPool", "PRelu", "Relu",
})  # fmt: skip
_NORMALIZATIONS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")


@dataclass(frozen=True)
class Route:
    """From `source`, which takes a factor up, to a layer; `axis` has the channels, counted from the end.

    `addends` are the constants added on the way, which take the factor as well. `divided` are the nodes
    whose outputs are divided, without the layers among them.
    """

    source: Node
    axis: int
    addends: tuple[Use, ...]
    divided: tuple[Node, ...]


def find_route(value: Value, axis: int, *, to_layer: bool) -> Route | str:
    """The way up from `value` to what can take up a factor, or the reason why there is none.

    The readers of `value` itself are the caller's to look at. `to_layer`: only a layer counts, and
    multiplications by constants are passed.
    """
    addends: list[Use] = []
    passed: list[Node] = []
    while True:
        node = value.producer
        if node is None:
            return f"'{value.name}' is an input of the model or a constant"
        if node.domain or value.index:
            return f"{node.op} '{node.name}' does not let a factor pass"
        if node.op in LAYERS:
            return Route(node, axis, tuple(addends), tuple(passed))
        passed.append(node)
        if not to_layer and _takes_up(node, axis):
            return Route(node, axis, tuple(addends), tuple(passed))
        step = _step(node)
        if isinstance(step, str):
            return step
        if node.op in ("Add", "Sub"):
            addends.append(Use(node, 1 - step))
        above = node.inputs[step]
        assert above is not None
        if not above.has_one_use:
            return f"'{above.name}', which '{node.name}' reads, has other readers"
        value = above


def prepared_division(route: Route, factors: F64) -> Write:
    """Divides all on the route but a layer at its source; PassError now for overflow."""
    written: list[Callable[[], None]] = []
    for node, i in route.addends:
        written.append(_scaled(node, i, 1 / factors, route.axis))
    source = route.source
    if source.op in _NORMALIZATIONS:
        written += [_scaled(source, i, 1 / factors, -1) for i in (1, 2) if source.input(i) is not None]
    elif source.op == "Mul":
        written.append(_scaled(source, _constant_index(source), 1 / factors, route.axis))
    elif source.op == "Div":
        written.append(_scaled(source, 1, factors, route.axis))

    assert source.graph is not None
    before = output_factors(source.graph)
    divided = {n.name: (np.array(before.get(n.name, 1.0)) * factors).tolist() for n in route.divided}

    def write() -> Factors:
        for each in written:
            each()
        return divided if (factors != 1).any() else {}

    return write


def _scaled(node: Node, i: int, factors: F64, axis: int) -> Callable[[], None]:
    """Writes constant operand `i` times a factor per channel; PassError when it overflows."""
    value = node.inputs[i]
    assert value is not None
    assert value.constant is not None
    held: npt.NDArray[Any] = value.constant.array
    shape = (-1, *[1] * (-axis - 1))
    with np.errstate(over="ignore"):
        scaled = np.asarray(held.astype(np.float64) * factors.reshape(shape), held.dtype)
    if not np.isfinite(scaled).all():
        raise PassError(f"constant '{value.name}' of {node.op} '{node.name}' times the factors overflows")
    return lambda: write_operand(node, i, Constant.of(scaled), f"{node.name}.constant")


def _step(node: Node) -> int | str:
    """The input from which a factor could come to the output of `node`, or why from none."""
    what = f"{node.op} '{node.name}'"
    if node.op in _WITHIN_CHANNELS:
        return 0
    if node.op == "Clip":
        return 0 if _is_relu(node) else f"{what} has bounds that a factor per channel would move"
    if node.op in ("Add", "Sub", "Mul", "Div"):
        index = _constant_index(node)
        if index < 0 or (node.op == "Div" and index == 0):
            return f"{what} combines values that are computed at run time"
        return 1 - index
    return f"{what} does not let a factor pass"


def _constant_index(node: Node) -> int:
    """The operand that is a constant of floats; -1 when none is, or both are."""
    found = [
        i for i, v in enumerate(node.inputs) if v is not None and v.constant and v.constant.dtype.is_float
    ]
    return found[0] if len(found) == 1 else -1


def _takes_up(node: Node, axis: int) -> bool:
    """True for a normalization, or a multiplication by a constant, whose constants can take a factor."""
    if node.op in ("Mul", "Div"):
        index = _constant_index(node)
        return index >= 0 and (node.op == "Mul" or index == 1)
    if node.op not in _NORMALIZATIONS:
        return False
    constants = [node.input(i) for i in (1, 2)]
    if constants[0] is None or any(v is not None and v.constant is None for v in constants):
        return False
    if any(v is not None and v.is_read and node.outputs.index(v) for v in node.outputs):
        return False
    if node.op == "LayerNormalization":
        return axis == -1 and node.attributes.get("axis", -1) == -1
    shape = node.output.tensor.shape
    return shape is not None and axis == 1 - len(shape)


def _is_relu(node: Node) -> bool:
    """True for a Clip whose bounds are 0 or infinite."""
    bounds: list[object] = [node.attributes.get("min"), node.attributes.get("max")]  # before opset 11
    for value in node.inputs[1:]:
        if value is not None:
            bounds.append(float(value.constant.array) if value.constant and value.constant.size == 1 else 1.0)
    limit = float(np.finfo(np.float32).max)
    return all(b is None or b == 0 or (isinstance(b, float) and abs(b) >= limit) for b in bounds)
