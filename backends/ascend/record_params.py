"""The quantized types that a record gives to the operands of one layer, checked against the layer.

Every error is a BackendError that names the layer and the field of the record.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.record import LayerRecord
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.node import Node
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.insertion.specs import narrow_reason
from qir.passes.rules import OpRule
from qir.runtime.channels import channels_first
from qir.runtime.weights import quantize

_ACTIVATIONS = {"INT8": DType.I8, "INT16": DType.I16}
_WEIGHTS = {"INT4": DType.I4, "INT6": DType.I6, "INT7": DType.I7, "INT8": DType.I8}
_UNLIKELY = 2.0  # calibration clips weights by a few percent, or not at all
_log = logging.getLogger(__name__)


def activation_params(node: Node, rule: OpRule, record: LayerRecord) -> QuantParams:
    """How the layer's input is quantized."""
    operand = rule.operand("activation")
    assert operand is not None
    spec = operand.spec(node)
    if record.act_type not in _ACTIVATIONS:
        raise BackendError(
            f"act_type {record.act_type} of layer '{node.name}' is not supported; calibrate it with INT8"
        )
    if record.act_type == "INT16":
        reason = rule.refuse_precision(node, "activation", "int16")
        if reason is not None:
            raise BackendError(
                f"act_type: current layer '{node.name}' does not support int16 quant: {reason}"
            )
    if spec.symmetric and record.offset_d != 0:
        raise BackendError(
            f"offset_d's value should be 0 in layer '{node.name}', not {record.offset_d}: "
            f"current layer ({node.op} over 3 dimensions) only supports symmetric activations"
        )
    return QuantParams.of(replace(spec, qtype=_ACTIVATIONS[record.act_type]), record.scale_d, record.offset_d)


def check_weightless(node: Node, record: LayerRecord) -> None:
    """A record of a layer without weight says so."""
    if record.scale_w != (1.0,):
        raise BackendError(
            f"scale_w's value should be a single 1.0 in layer '{node.name}', for {node.op} has no weight; "
            f"not {list(record.scale_w)}"
        )
    if record.tensor_balance_factor:
        raise BackendError(
            f"tensor_balance_factor is not supported by layer '{node.name}': {node.op} has no weight that "
            "could balance it"
        )


def weight_params(node: Node, rule: OpRule, spec: QuantSpec, record: LayerRecord) -> QuantParams:
    """How the layer's constant weight is quantized; `spec` is what the rules want of an INT8 weight."""
    value = node.inputs[1]
    assert value is not None
    assert value.constant is not None, "rules refuse layers whose weight is computed"
    array = value.constant.array
    name = record.wts_type or "INT8"
    if name != "INT8":
        reason = narrow_reason(node, rule, _WEIGHTS[name].bits)
        if reason is not None:
            raise BackendError(f"wts_type {name} is not supported by layer '{node.name}': {reason}")
    channels, count = spec.channels(array.shape), len(record.scale_w)
    if count not in (1, channels):
        expected = (
            f"1, or equal to the {channels} output channels when channel_wise is true"
            if spec.axis is not None
            else f"equal to 1: {node.op} is quantized per tensor"
        )
        raise BackendError(f"scale_w's length should be {expected} in layer '{node.name}', not {count}")
    if count < channels:
        spec = replace(spec, axis=None, groups=1)
    params = QuantParams.of(replace(spec, qtype=_WEIGHTS[name]), record.scale_w)
    if name in ("INT6", "INT7"):
        _check_narrow(node, array, params, name)
    _warn_of_other_weights(node, array, params)
    return params


def _warn_of_other_weights(node: Node, array: npt.NDArray[Any], params: QuantParams) -> None:
    """Scales by which weights clip far, or come nowhere near the ends, were made for other weights."""
    largest = np.abs(channels_first(array.astype(np.float32, copy=False), params.spec)).max(axis=1, initial=0)
    with np.errstate(over="ignore"):
        share = largest / (params.scale_array() * params.spec.qtype.integer_range[1])
    if share.max() > _UNLIKELY or 0 < share.max() < 1 / _UNLIKELY:
        _log.warning(
            "layer '%s': its weights reach %.2g times the range that scale_w of the record gives them; "
            "was the record made under other fusions (pipeline), or for another model?",
            node.name,
            share.max(),
        )


def _check_narrow(node: Node, array: npt.NDArray[Any], params: QuantParams, name: str) -> None:
    """Six and seven bits are stored in eight, without clipping: the scales must have been made for them."""
    low, high = params.spec.qtype.integer_range
    integers = quantize(array, QuantParams.of(replace(params.spec, qtype=DType.I8), params.scale))
    if integers.min() < low or integers.max() > high:
        raise BackendError(
            f"scale_w of layer '{node.name}' is too small for wts_type {name}: its integers reach "
            f"[{integers.min()}, {integers.max()}], beyond [{low}, {high}]"
        )


def accumulator_scale(node: Node, activation: QuantParams, weight: QuantParams) -> QuantParams:
    """What one step of the layer's int32 sums is worth, which is how its bias is quantized."""
    with np.errstate(over="ignore", under="ignore"):
        scale = activation.scale_array() * weight.scale_array()
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if bad.size:
        c = int(bad[0])
        raise BackendError(
            f"scale_d times scale_w leaves float32 in layer '{node.name}', channel {c}: "
            f"{activation.scale[0]} * {weight.scale[c]}"
        )
    axis = 0 if len(weight.scale) > 1 else None
    return QuantParams.of(QuantSpec(DType.I32, symmetric=True, axis=axis), scale)
