"""Closes the quants of biases: int32 with scale scale_x * scale_w, no zero point.

The accumulator of a quantized layer counts in steps of deq = float32(scale_x * scale_w[c]), so its bias
must too: b_int32 = rint(b / deq). AMCT gives up when that leaves int32. Here the weight scale of such a
channel is widened until the bias takes half of int32 and leaves the other half to the products: then
deq = |b| / 2^30, so the rounding of the channel's K weights costs at most about K * 127 / 2^30, or 1.2e-7 K,
of |b| itself, and the layer stays INT8. Every widening is reported.

Where input and weight have 16 bits both, their products are finer than int32 can count: such a bias has a
scale of its own. (It is no float constant, because ONNX Runtime makes an int32 with the scale of the products
of one, and lets it overflow: seen in 1.31.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import (
    bias_add,
    erase_quant,
    operand_precision,
    quant_of,
    quantized_layers,
    unquantized,
)
from qir.ir.types import QuantParams, QuantSpec, spec_of
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.specs import bias_type

Floats = npt.NDArray[np.float32]
_LIMIT = 2**31 - 1
_WIDENED = 2**30
_NARROW = 8  # bits
_NO_INTEGERS = "its input and weight are no longer integers whose products an int32 bias could be added to"


@dataclass(frozen=True)
class QuantizeBias(Pass):
    """Give int32 biases the scales of the accumulator; widen weight scales where a bias would overflow."""

    name: ClassVar[str] = "quantize-bias"

    def run(self, graph: Graph, context: Context) -> bool:
        """Close every open bias quant, and those whose scales are no longer those of input and weight.

        A bias of a layer that does not sum integers any more is float again. PassError when the layer's input
        or weight is still open.
        """
        changed = False
        for layer in quantized_layers(graph):
            reader, index = bias_operand(layer)
            bias = reader.input(index)
            quant = None if bias is None else quant_of(bias)
            if bias is None or quant is None or spec_of(quant).qtype is not DType.I32:
                continue
            if bias_type(layer) is not DType.I32:
                changed |= _leave_float(layer, reader, index, _NO_INTEGERS, context)
            elif isinstance(quant, QuantSpec) or _is_stale(layer, bias, quant):
                changed |= _close(graph, layer, reader, index, bias, context)
        return changed


def _leave_float(layer: Node, reader: Node, index: int, reason: str, context: Context) -> bool:
    bias = reader.inputs[index]
    assert bias is not None
    reader.set_input(index, unquantized(bias))
    erase_quant(bias)
    context.rewrites.refused("quantize-bias", layer.name, reason)
    return True


def _is_stale(layer: Node, bias: Value, quant: QuantParams) -> bool:
    """Whether input or weight have other scales than when the bias was closed, as after editing by hand."""
    x, w = (_closed(layer, i, what) for i, what in ((0, "input"), (1, "weight")))
    constant = unquantized(bias).constant
    if _is_wide(x, w) and constant is not None:
        return quant.scale != _own_params(constant.array.astype(np.float32)).scale
    return quant.scale != tuple((x.scale_array() * w.scale_array()).tolist())


def _is_wide(x: QuantParams, w: QuantParams) -> bool:
    return min(x.spec.qtype.bits, w.spec.qtype.bits) > _NARROW


def _own_params(bias: Floats) -> QuantParams:
    """Parameters under which int32 holds the bias to 2^-31 of its largest magnitude."""
    largest = float(np.abs(bias).max(initial=0.0))
    return QuantParams.of(QuantSpec(DType.I32), largest / _WIDENED or 1.0)


def bias_operand(layer: Node) -> tuple[Node, int]:
    """Where the bias of a layer stands: input 1 of the Add after a MatMul, input 2 of everything else."""
    add = bias_add(layer)
    return (layer, 2) if add is None else (add, 1)


def _close(graph: Graph, layer: Node, reader: Node, index: int, bias: Value, context: Context) -> bool:
    x, w = (_closed(layer, i, what) for i, what in ((0, "input"), (1, "weight")))
    assert bias.producer is not None
    source = bias.producer.inputs[0]
    if source is None or source.constant is None:
        raise PassError(f"the bias of layer '{layer.name}' is not constant; skip it in insert-quant")
    data = source.constant.array.astype(np.float32)
    if not np.isfinite(data).all():
        raise PassError(
            f"bias '{source.name}' of layer '{layer.name}' is not finite; repair the model or skip it"
        )
    if _is_wide(x, w):
        _set_params(graph, reader, index, _own_params(data))
        context.rewrites.applied("quantize-bias", layer.name)
        return True
    weight_scale = _widened(data.reshape(-1), x.scale_array(), w.scale_array())
    wide = np.flatnonzero(weight_scale != w.scale_array())
    if wide.size and _is_compensated(layer):
        why = "its bias needs wider weight scales than error compensation has; it is added in float"
        return _leave_float(layer, reader, index, why, context)
    if wide.size:
        w = QuantParams.of(w.spec, weight_scale, 0)
        _set_params(graph, layer, 1, w)
        layer.metadata["qir.widened"] = json.dumps(wide.tolist())
        context.rewrites.applied("quantize-bias/widened", layer.name)
    axis = 0 if len(w.scale) > 1 else None
    spec = QuantSpec(DType.I32, symmetric=True, axis=axis)
    _set_params(graph, reader, index, QuantParams.of(spec, x.scale_array() * w.scale_array()))
    context.rewrites.applied("quantize-bias", layer.name)
    return True


def _closed(layer: Node, i: int, what: str) -> QuantParams:
    precision = operand_precision(layer, i)
    quant = None if precision is None else precision.quant
    if not isinstance(quant, QuantParams):
        cure = "calibrate" if i == 0 else "quantize-weights"
        raise PassError(
            f"the {what} of layer '{layer.name}' has no scale yet; run {cure} before quantize-bias"
        )
    return quant


def _is_compensated(layer: Node) -> bool:
    precision = operand_precision(layer, 1)
    return precision is not None and precision.rest is not None


def _widened(bias: Floats, scale_x: Floats, scale_w: Floats) -> Floats:
    """The weight scales, raised where bias / (scale_x * scale_w) would leave int32."""
    steps = np.abs(bias.astype(np.float64)) / (scale_x * scale_w).astype(np.float64)
    if scale_w.size == 1:
        steps = steps.max(keepdims=True, initial=0.0)
    # The factor's margin of 1e-6 covers the two float32 roundings of the new scale and of its product
    # with scale_x.
    factor = np.where(steps > _LIMIT, steps / _WIDENED * (1 + 1e-6), 1.0)
    return np.where(factor > 1, scale_w * factor, scale_w).astype(np.float32)


def _set_params(graph: Graph, reader: Node, index: int, params: QuantParams) -> None:
    """Close the quant that `reader` reads, on its own copy where another layer needs other scales."""
    value = reader.inputs[index]
    assert value is not None
    assert value.producer is not None
    if not value.has_one_use and value.tensor.quant != params:
        source = value.producer.inputs[0]
        name = graph.unique_value_name(value.name)
        copy = graph.add(
            "quant", [source], domain="qir", name=name, outputs=[name], types=[value.type], before=reader
        )
        reader.set_input(index, copy.output)
        value = copy.output
    value.type = value.tensor.with_quant(params)
