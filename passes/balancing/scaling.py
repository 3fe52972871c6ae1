"""Balances a layer: divides its input by a factor per channel and multiplies its weight by the same.

    sum_c x[c] W[c]  =  sum_c (x[c] / f[c]) (W[c] f[c])

The product is the same, but outliers in few channels of x no longer dictate its scale. AMCT's DMQ balancer
writes the division as a Mul by the reciprocals in front of AscendQuant.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.passes.constants import write_operand

BALANCE_FACTOR = "qir.balance_factor"
"""Metadata key of a layer whose input is divided by one factor per channel: these, a JSON list."""
FIELD = "tensor_balance_factor"
"""What AMCT's records call the factors, and its graphs the nodes that hold them."""
F32 = npt.NDArray[np.float32]


def scale_channels(graph: Graph, layer: Node, factor: F32) -> None:
    """Balance a float layer with a constant weight, in place, by one factor per input channel.

    The factors are noted in the layer's metadata. PassError, with nothing changed, when the weights overflow.
    """
    source, weight = layer.inputs[0], layer.inputs[1]
    assert source is not None
    assert weight is not None
    assert weight.constant is not None
    held = weight.constant.array
    with np.errstate(over="ignore"):
        weights = (held.astype(np.float32) * along_inputs(layer, held.shape, factor)).astype(held.dtype)
    if not np.isfinite(weights).all():
        raise PassError("the weights times the factors overflow")
    write_operand(layer, 1, Constant.of(weights), f"{layer.name}.weight")
    reciprocal = (np.float32(1) / factor).astype(held.dtype).reshape(_broadcast(layer, held.ndim))
    name = graph.unique_node_name(f"{layer.name}.{FIELD}")
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


def input_channels(layer: Node, shape: tuple[int, ...]) -> int:
    """How many input channels a layer with a weight of this shape has."""
    return shape[1] * _groups(layer) if layer.op == "Conv" else shape[0]


def channel_axis(layer: Node) -> int:
    """The axis of the channels in the layer's input: 1, or the last of MatMul and Gemm."""
    return -1 if layer.op in ("MatMul", "Gemm") else 1


def weight_maxima(layer: Node, weight: npt.NDArray[Any]) -> F32:
    """The largest magnitude of the weights that each input channel meets."""
    magnitude: F32 = np.abs(weight.astype(np.float32, copy=False))
    # As [block of Cout, Cout of a block, Cin of a block, rest]; ConvTranspose has [Cin, Cout/g, k…], Gemm and
    # MatMul [K, N], where channel c meets all of row c.
    groups, block = (_groups(layer), weight.shape[0] // _groups(layer)) if layer.op == "Conv" else (1, 1)
    channels = weight.shape[1] if layer.op == "Conv" else weight.shape[0]
    maxima: F32 = magnitude.reshape(groups, block, channels, -1).max(axis=(1, 3), initial=0).reshape(-1)
    return maxima


def along_inputs(layer: Node, shape: tuple[int, ...], factor: F32) -> F32:
    """The factors in a shape that broadcasts over the layer's weight."""
    if layer.op != "Conv":
        return factor.reshape(-1, *[1] * (len(shape) - 1))
    groups = _groups(layer)  # [Cout, Cin/g, k…]: block g of Cout reads block g of Cin
    rows = np.repeat(factor.reshape(groups, -1), shape[0] // groups, axis=0)
    return rows.reshape(*shape[:2], *[1] * (len(shape) - 2))


def _groups(layer: Node) -> int:
    found = layer.attributes.get("group", 1)
    return found if isinstance(found, int) else 1


def _broadcast(layer: Node, rank: int) -> tuple[int, ...]:
    """The shape of a vector over the channels of the layer's input: dimension 1, or the last of a MatMul."""
    source = layer.inputs[0]
    shape = None if source is None else source.tensor.shape
    if layer.op == "MatMul" and shape is not None and len(shape) == 1:
        return (-1,)
    return (1, -1, *[1] * (rank - 2))
