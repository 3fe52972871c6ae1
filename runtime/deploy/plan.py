"""Chooses, per layer, float arithmetic in which its integer sums come out exactly.

ONNX Runtime has no integer ConvTranspose, nothing for int16, and its ConvInteger is slow (no blocked
layout, one small matrix product per group). Floats are exact integers as long as no partial sum leaves their
mantissa: then no addition rounds, so neither order nor fused multiply-add nor blocking changes a bit. Let
`bound` be the largest magnitude of any partial sum, from the weights, the bias and the range of the input:

    FLOAT32  bound < 2^24        the layer as it is, on float32
    FLOAT64  Gemm, MatMul        the layer on float64, bound < 2^53 (float64 has no Conv in ONNX Runtime)
    DIGITS   Conv, ConvTranspose weights and, from 16 bits on, inputs are split into digits,
                                     w = sum_i B^i w_i,   x = 256 x_1 + x_0,
                                 so that each layer of digits has a bound < 2^24 and runs on float32; the
                                 results are added up with their factors in float64, which is exact below 2^53
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ModelError
from qir.runtime.bounds import EXACT_FLOAT32, INT32_RANGE, sum_bounds
from qir.runtime.channels import channels_back, channels_first
from qir.runtime.deploy.fields import describe
from qir.runtime.deploy.layers import IntegerLayer

Integers = npt.NDArray[np.int64]
EXACT_FLOAT64 = 2**53
SPLIT_INPUT = 256
"""The base into which wide inputs are split."""
_NARROW = 256  # the largest |x| of an input digit: x_0 and x_1 of 16 bits, or 8 bits less a zero point


class Method(enum.Enum):
    """How the sums of a layer are computed, see above."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DIGITS = "digits"


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a layer.

    `bound` is the largest magnitude of a partial sum; `digits` are the weight digits, lowest first, in the
    layout of the weight, with the base they stand for (one digit of base 1 when there is nothing to split).
    `input_digits` is 1, or 2 when the input is split into 256 x_1 + x_0.
    """

    method: Method
    bound: int
    digits: tuple[Integers, ...]
    base: int
    input_digits: int

    @property
    def may_overflow(self) -> bool:
        """True when an accumulator beyond int32 cannot be ruled out from the weights."""
        return self.bound > INT32_RANGE[1]


def plan_layer(layer: IntegerLayer) -> Plan:
    """The plan of a layer; ModelError when its bias overflows or it is too large for all methods."""
    low, high = layer.quant.centred_range
    if layer.weight is None:
        return Plan(Method.FLOAT32, _pool_bound(layer), (), 1, 1)
    weight = _centred_weight(layer)
    rows = channels_first(weight, layer.weight_spec)
    _check_bias(layer, rows)
    bound = int(sum_bounds(rows, layer.bias, min(low, 0), max(high, 0)).max(initial=0))
    if bound < EXACT_FLOAT32:
        return Plan(Method.FLOAT32, bound, (weight,), 1, 1)
    if layer.node.op in ("Gemm", "MatMul") and bound < EXACT_FLOAT64:
        return Plan(Method.FLOAT64, bound, (weight,), 1, 1)
    limit = min(layer.quant.largest, _NARROW)
    for bits in (4, 2, 1):
        digits = _split(weight, 1 << bits) or (weight,)
        sums = (sum_bounds(channels_first(d, layer.weight_spec), None, -limit, limit).max() for d in digits)
        if max(sums) < EXACT_FLOAT32:
            inputs = 1 if layer.quant.largest <= _NARROW else 2
            return Plan(Method.DIGITS, bound, digits, 1 << bits, inputs)
    raise ModelError(
        f"layer {describe(layer.node)} adds up {rows.shape[1]} products, more than can be computed exactly; "
        "split the layer"
    )


def _centred_weight(layer: IntegerLayer) -> Integers:
    """Weights less their zero point."""
    assert layer.weight is not None
    weight, spec = layer.weight.astype(np.int64), layer.weight_spec
    offset = layer.dequants[0].params.weight_offset
    if not offset.any():
        return weight
    rows = channels_first(weight, spec) - offset.reshape(-1, 1)
    return channels_back(rows, weight.shape, spec)


def _check_bias(layer: IntegerLayer, rows: Integers) -> None:
    """The compiler adds -offset * (sum of the weights) to the bias, as int32."""
    corrected = -layer.quant.offset * rows.sum(axis=1)
    if layer.bias is not None:
        corrected = corrected + layer.bias
    low, high = INT32_RANGE
    bad = np.flatnonzero((corrected < low) | (corrected > high))
    if bad.size:
        raise ModelError(
            f"layer {describe(layer.node)}: the bias of channel {bad[0]} is {corrected[bad[0]]} with the "
            "correction for the zero point, which overflows int32; leave the layer in float"
        )


def _split(weight: Integers, base: int) -> tuple[Integers, ...]:
    """Digits from -base/2 to base/2 (base 2: signed bits), lowest first: weight = sum of base^i * digit i."""
    digits = []
    if base == 2:
        sign, rest = np.sign(weight), np.abs(weight)
        while rest.any():
            digits.append(sign * (rest & 1))
            rest = rest >> 1
        return tuple(digits)
    while weight.any():
        digit = (weight + base // 2) % base - base // 2
        digits.append(digit)
        weight = (weight - digit) // base
    return tuple(digits)


def _pool_bound(layer: IntegerLayer) -> int:
    kernel = layer.node.attributes.get("kernel_shape")
    if not isinstance(kernel, tuple) or not kernel:
        raise ModelError(f"layer {describe(layer.node)} has no attribute 'kernel_shape'")
    bound = int(np.prod(np.asarray(kernel, np.int64))) * layer.quant.largest
    if bound >= EXACT_FLOAT32:
        raise ModelError(
            f"attribute 'kernel_shape' of layer {describe(layer.node)} is {list(kernel)}: so many integers "
            f"cannot be added up exactly; leave the layer in float"
        )
    return bound
