"""Closes the quants of biases: int32 with scale scale_x * scale_w, no zero point.

The accumulator of a quantized layer counts in steps of deq = float32(scale_x * scale_w[c]), so its bias
must too: b_int32 = rint(b / deq). AMCT gives up when that leaves int32. Here the weight scale of such a
channel is widened until the bias takes half of int32 and leaves the other half to the products: then
deq = |b| / 2^30, so the rounding of the channel's K weights costs at most about K * 127 / 2^30, or 1.2e-7 K,
of |b| itself, and the layer stays INT8. Every widening is reported.
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
from qir.ir.quants import bias_add, quant_of, quantized_layers
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.base import Pass
from qir.passes.context import Context

Floats = npt.NDArray[np.float32]
_LIMIT = 2**31 - 1
_WIDENED = 2**30


@dataclass(frozen=True)
class QuantizeBias(Pass):
    """Give int32 biases the scales of the accumulator; widen weight scales where a bias would overflow."""

    name: ClassVar[str] = "quantize-bias"

    def run(self, graph: Graph, context: Context) -> bool:
        """Close every open bias quant; PassError when the layer's input or weight is still open."""
        changed = False
        for layer in quantized_layers(graph):
            reader, index = bias_operand(layer)
            bias = reader.input(index)
            quant = None if bias is None else quant_of(bias)
            if isinstance(quant, QuantSpec) and quant.qtype is DType.I32:
                assert bias is not None
                changed |= _close(graph, layer, reader, index, bias, context)
        return changed


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
    weight_scale = _widened(data.reshape(-1), x.scale_array(), w.scale_array())
    wide = np.flatnonzero(weight_scale != w.scale_array())
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
    value = layer.input(i)
    quant = None if value is None else quant_of(value)
    if not isinstance(quant, QuantParams):
        cure = "calibrate" if i == 0 else "quantize-weights"
        raise PassError(
            f"the {what} of layer '{layer.name}' has no scale yet; run {cure} before quantize-bias"
        )
    return quant


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
