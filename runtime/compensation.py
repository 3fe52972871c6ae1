"""Error compensation: a value as q(x) + q(x - q(x)), two integer tensors with scales of their own.

The first covers the range of x in steps of s. Within that range it leaves [-s/2, s/2], which the second
covers with 127 steps on either side: s/254 is a step of the sum, so that two int8 hold 15.99 bits over an
asymmetric range and 14.98 bits on either side of 0 over a symmetric one; an int16 holds 16 and 15.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.quants import OperandPrecision
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.channels import channels_first
from qir.runtime.scales import LEAST_FLOAT, params_of_range
from qir.runtime.weights import fake_quantize

F32 = npt.NDArray[np.float32]


def fine_spec(spec: QuantSpec) -> QuantSpec:
    """The spec of one integer that resolves as much as the two tensors do: methods choose ranges by it."""
    return replace(spec, qtype=DType.I16)


def params_of_range_of(fine: QuantParams, spec: QuantSpec) -> QuantParams:
    """`spec`, that of the first tensor, closed by the range that parameters of the fine spec cover."""
    qmin, qmax = fine.spec.qtype.integer_range
    scale, zero = fine.scale_array(), fine.zero_point_array()
    low, high = (qmin - zero) * scale, (qmax - zero) * scale
    return params_of_range(-high if spec.symmetric else low, high, spec, least=LEAST_FLOAT)


def rest_params(coarse: QuantParams, spec: QuantSpec) -> QuantParams:
    """`spec`, that of the second tensor, closed for what `coarse` leaves of numbers in its range."""
    half = coarse.scale_array() / np.float32(2)
    return params_of_range(-half, half, spec, least=LEAST_FLOAT)


def rest_of_weights(weights: npt.NDArray[Any], coarse: QuantParams, spec: QuantSpec) -> QuantParams:
    """`spec` closed by the range of what `coarse` leaves of the weights, in each of its channels."""
    left = channels_first(left_over(weights, coarse), spec)
    return params_of_range(left.min(axis=1), left.max(axis=1), spec, least=LEAST_FLOAT)


def left_over(array: npt.NDArray[Any], coarse: QuantParams) -> F32:
    """x - q(x) in float32."""
    found: F32 = array.astype(np.float32) - fake_quantize(array, coarse)
    return found


def rounded_array(array: npt.NDArray[Any], precision: OperandPrecision) -> F32:
    """The numbers that an array stored in a closed precision stands for."""
    assert isinstance(precision.quant, QuantParams)
    found = fake_quantize(array, precision.quant)
    if precision.rest is None:
        return found
    assert isinstance(precision.rest, QuantParams)
    return found + fake_quantize(left_over(array, precision.quant), precision.rest)
