"""Chooses, per layer, float arithmetic in which its integer sums come out exactly.

ONNX Runtime has no integer ConvTranspose, nothing for int16, and its ConvInteger took 4 to 15 times as long
as a float32 Conv on layers of EfficientNet (benchmarks/deploy.py). Floats are exact integers as long as no
partial sum leaves their mantissa: then no addition rounds, so neither order nor fused multiply-add nor
blocking changes a bit. Let `bound` be the largest magnitude of any partial sum, from weights, bias and
the range of the input:

    FLOAT32  bound < 2^24: the layer as it is, on float32. Where only the bias of a channel reaches 2^24, it
             is split, b = 2^16 b_1 + b_0: the layer sums with b_0 exactly, and adding 2^16 b_1 rounds once,
             as converting the int32 accumulator to float32 does.
    FLOAT64  Gemm and MatMul with bound < 2^53, on float64 (for which ONNX Runtime has no Conv).
    DIGITS   Conv and ConvTranspose: weights and, from 16 bits on, inputs are split into digits,
             w = sum_i B^i w_i and x = 256 x_1 + x_0, so that each pair of digits has a bound < 2^24 and runs
             on float32; the results are added up with their factors in float64, exactly below 2^53.

What these ops make of the largest sums is tried once in a process, see `self_test`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ModelError
from qir.runtime.bounds import EXACT_FLOAT32, INT32_RANGE, sum_bounds
from qir.runtime.channels import channels_back, channels_first
from qir.runtime.deploy.fields import describe
from qir.runtime.deploy.layers import IntegerLayer

Integers = npt.NDArray[np.integer[Any]]
EXACT_FLOAT64 = 2**53
SPLIT_INPUT = 256
"""The base into which wide inputs are split."""
_LOW_BIAS = 2**16
"""b_1 then has 15 bits, and 2^16 b_1 is a float32 number."""
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
    `input_digits` is 1, or 2 when the input is split into 256 x_1 + x_0. `high_bias` [channels] is what is
    added behind the layer's own sums, when its bias is split.
    """

    method: Method
    bound: int
    digits: tuple[Integers, ...]
    base: int
    input_digits: int
    high_bias: Integers | None = None

    @property
    def may_overflow(self) -> bool:
        """True when an accumulator beyond int32 cannot be ruled out from the weights."""
        return self.bound > INT32_RANGE[1]


def plan_layer(layer: IntegerLayer) -> Plan:
    """The plan of a layer; ModelError when its bias overflows or it is too large for all methods."""
    low, high = (min(layer.quant.centred_range[0], 0), max(layer.quant.centred_range[1], 0))
    if layer.weight is None:
        return Plan(Method.FLOAT32, _pool_bound(layer), (), 1, 1)
    weight = _centred_weight(layer)
    rows = channels_first(weight, layer.weight_spec)
    _check_bias(layer, rows)
    bounds = sum_bounds(rows, layer.bias, low, high)
    bound = int(bounds.max(initial=0))
    if bound < EXACT_FLOAT32:
        return Plan(Method.FLOAT32, bound, (weight,), 1, 1)
    split = _split_bias(layer, rows, bounds)
    if split is not None and bound <= INT32_RANGE[1]:
        return Plan(Method.FLOAT32, bound, (weight,), 1, 1, split)
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
    """Weights less their zero point, in as few bytes as hold them: a model has millions."""
    assert layer.weight is not None
    weight, spec = layer.weight, layer.weight_spec
    offset = layer.dequants[0].params.weight_offset
    if not offset.any():
        return weight
    rows = channels_first(weight.astype(np.int16), spec) - offset.astype(np.int16).reshape(-1, 1)
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


def _split_bias(layer: IntegerLayer, rows: Integers, bounds: Integers) -> Integers | None:
    """2^16 b_1 of the channels that pass 2^24; None when that does not keep the other sums below it."""
    shifted = any(step.params.shift.any() for step in layer.dequants)  # shifts the exact accumulator
    if layer.bias is None or shifted:
        return None
    bias = layer.bias.astype(np.int64)
    high = np.where(bounds < EXACT_FLOAT32, 0, (bias + _LOW_BIAS // 2) // _LOW_BIAS * _LOW_BIAS)
    rest = sum_bounds(rows, bias - high, *layer.quant.centred_range)
    return high if rest.max() < EXACT_FLOAT32 else None


def _split(weight: Integers, base: int) -> tuple[Integers, ...]:
    """Digits from -base/2 to base/2 (base 2: signed bits), lowest first: weight = sum of base^i * digit i."""
    digits: list[Integers] = []
    weight = weight.astype(np.int16)  # halves of the base are added, which may leave int8
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
