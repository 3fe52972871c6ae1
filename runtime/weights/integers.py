"""Weights and biases: their integers and their fake-quantized values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.types import QuantParams
from qir.runtime import kernels
from qir.runtime.channels import channels_back, channels_first

F32 = npt.NDArray[np.float32]


def quantize(
    array: npt.NDArray[Any], params: QuantParams, *, reciprocal: bool = False
) -> npt.NDArray[np.signedinteger[Any] | np.unsignedinteger[Any] | np.floating[Any]]:
    """The stored values of an array under closed params, in the shape of the array.

    Types below 8 bits come in int8 or uint8, one element each. float16 and float32 params are casts.
    `reciprocal` multiplies by float32 1/scale as Ascend does, instead of dividing. int32 (bias) divides in
    float32 as AMCT does, and rounds and clips in float64. PassError when the number of scales does not fit
    the shape.
    """
    qtype = params.spec.qtype
    if qtype.is_float:
        return array.astype(_storage(qtype))
    rows, scale, zero_point = _rows(array, params)
    stored = kernels.quantize(rows, scale, zero_point, qtype, reciprocal=reciprocal)
    return channels_back(stored, array.shape, params.spec)


def fake_quantize(array: npt.NDArray[Any], params: QuantParams, *, reciprocal: bool = False) -> F32:
    """The float32 numbers that the stored values stand for, (q - zero_point) * scale, in the same shape."""
    qtype = params.spec.qtype
    if qtype.is_float:
        return array.astype(_storage(qtype)).astype(np.float32)
    rows, scale, zero_point = _rows(array, params)
    result = kernels.fake_quantize(rows, scale, zero_point, qtype, reciprocal=reciprocal)
    return channels_back(result, array.shape, params.spec)


def _rows(array: npt.NDArray[Any], params: QuantParams) -> tuple[F32, F32, npt.NDArray[np.int64]]:
    rows = channels_first(array.astype(np.float32, copy=False), params.spec)
    scale, zero_point = params.scale_array(), params.zero_point_array()
    if scale.size != rows.shape[0]:
        raise PassError(
            f"{scale.size} scales for a tensor of shape {list(array.shape)}, "
            f"which has {rows.shape[0]} channels"
        )
    return rows, scale, zero_point


def _storage(qtype: DType) -> np.dtype[Any]:
    if qtype.numpy is None:
        raise PassError(f"{qtype.value} has no numpy type to cast to")
    return qtype.numpy
