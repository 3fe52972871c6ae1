"""Balances a layer: divides its input by a factor per channel and multiplies its weight by the same.

    sum_c x[c] W[c]  =  sum_c (x[c] / f[c]) (W[c] f[c])

The product is the same, but outliers in few channels of x no longer dictate its scale. AMCT's DMQ balancer
finds the factors and writes the division as a Mul by the reciprocals in front of AscendQuant (specification
D.6); here factors are only applied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.record import BALANCE_FACTOR
from qir.backends.ascend.rules import int_attribute
from qir.ir.constant import Constant
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.passes.constants import write_operand

_FIELD = "tensor_balance_factor"


def balance(graph: Graph, layer: Node, factors: Sequence[float]) -> None:
    """Balance a float layer with a constant weight, in place, by one factor per input channel.

    The factors are noted in the layer's metadata. BackendError when their number is another, or when the
    weights overflow.
    """
    source, weight = layer.inputs[0], layer.inputs[1]
    assert source is not None
    assert weight is not None
    assert weight.constant is not None
    held = weight.constant.array
    channels = _input_channels(layer, held.shape)
    if len(factors) != channels:
        raise BackendError(
            f"the length of {_FIELD} should be equal to the {channels} input channels of layer "
            f"'{layer.name}', not {len(factors)}"
        )
    factor = np.asarray(factors, np.float32)
    with np.errstate(over="ignore"):
        weights = (held.astype(np.float32) * _along_inputs(layer, held.shape, factor)).astype(held.dtype)
    if not np.isfinite(weights).all():
        raise BackendError(f"{_FIELD} of layer '{layer.name}': the weights times the factors overflow")
    write_operand(layer, 1, Constant.of(weights), f"{layer.name}.weight")
    reciprocal = (np.float32(1) / factor).astype(held.dtype).reshape(_broadcast(layer, held.ndim))
    name = graph.unique_node_name(f"{layer.name}.{_FIELD}")
    constant = Constant.of(reciprocal)
    factor_node = graph.add(
        "Constant", [], name=name, outputs=[graph.unique_value_name(f"{name}.output0")],
        types=[constant.type], attributes={"value": constant}, before=layer,
    )  # fmt: skip
    name = graph.unique_node_name(f"{layer.name}.mul")
    divide = graph.add(
        "Mul", [source, factor_node.output], name=name, outputs=[graph.unique_value_name(f"{name}.output0")],
        types=[source.tensor], before=layer,
    )  # fmt: skip
    layer.set_input(0, divide.output)
    layer.metadata[BALANCE_FACTOR] = json.dumps(factor.tolist())


def _input_channels(layer: Node, shape: tuple[int, ...]) -> int:
    return shape[1] * int_attribute(layer, "group", 1) if layer.op == "Conv" else shape[0]


def _along_inputs(layer: Node, shape: tuple[int, ...], factor: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """The factors in a shape that broadcasts over the layer's weight."""
    if layer.op != "Conv":  # ConvTranspose [Cin, Cout/g, k…], Gemm and MatMul [K, N]
        return factor.reshape(-1, *[1] * (len(shape) - 1))
    groups = int_attribute(layer, "group", 1)  # [Cout, Cin/g, k…]: block g of Cout reads block g of Cin
    rows = np.repeat(factor.reshape(groups, -1), shape[0] // groups, axis=0)
    return rows.reshape(*shape[:2], *[1] * (len(shape) - 2))


def _broadcast(layer: Node, rank: int) -> tuple[int, ...]:
    """The shape of a vector over the channels of the layer's input: dimension 1, or the last of a MatMul."""
    source = layer.inputs[0]
    shape = None if source is None else source.tensor.shape
    if layer.op == "MatMul" and shape is not None and len(shape) == 1:
        return (-1,)
    return (1, -1, *[1] * (rank - 2))
