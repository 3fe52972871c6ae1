"""Front end of the rounding kernels: ranges of quantized types, and the dtypes that results are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.runtime.kernels import rounding

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

_FLOAT_BITS = 16
"""Widest type whose integers are exact in float32 arithmetic; wider ones round in float64."""


def round_half_even(x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """float32 numbers rounded to integers, ties to even."""
    return np.rint(np.asarray(x, np.float32))


def storage_of(qtype: DType) -> np.dtype[Any]:
    """The numpy type that holds the integers of `qtype`; below 8 bits, one element a byte."""
    if qtype.numpy is not None:
        return qtype.numpy
    return np.dtype(np.uint8) if qtype.integer_range[0] == 0 else np.dtype(np.int8)


def quantize(
    rows: F32, scale: F32, zero_point: npt.NDArray[np.int64], qtype: DType, *, reciprocal: bool = False
) -> npt.NDArray[Any]:
    """Integers of each row of a contiguous finite matrix [C, n]; scale and zero_point have C entries."""
    if qtype.bits > _FLOAT_BITS:
        return _wide(rows, scale, zero_point, qtype).astype(storage_of(qtype))
    out = np.empty_like(rows)
    qmin, qmax = qtype.integer_range
    rounding.quantize_rows(rows, scale, zero_point.astype(np.float32), qmin, qmax, reciprocal, out)
    return _integers(out, qtype)


def fake_quantize(
    rows: F32,
    scale: F32,
    zero_point: npt.NDArray[np.int64],
    qtype: DType,
    *,
    reciprocal: bool = False,
    out: F32 | None = None,
) -> F32:
    """Fake-quantized rows of a contiguous matrix [C, n] (into `out`, another array, when given)."""
    out = np.empty_like(rows) if out is None else out
    if qtype.bits > _FLOAT_BITS:
        integers = _wide(rows, scale, zero_point, qtype)
        out[...] = (integers - zero_point[:, None]) * scale[:, None].astype(np.float64)
        return out
    qmin, qmax = qtype.integer_range
    rounding.fake_quantize_rows(rows, scale, zero_point.astype(np.float32), qmin, qmax, reciprocal, out)
    return out


def ifmr_loss(x: F32, scale: F32, low: F32, high: F32) -> F64:
    """Sum of squared errors of the values x under each candidate scale with its clipping range."""
    loss = np.empty(scale.size, np.float64)
    rounding.ifmr_loss_values(x, scale, low, high, loss)
    return loss


def ifmr_loss_density(edges: F64, density: F64, scale: F32, low: F32, high: F32) -> F64:
    """The same of data spread evenly between edges, density[b] elements per unit after edges[b]."""
    loss = np.empty(scale.size, np.float64)
    rounding.ifmr_loss_density(edges, density, scale, low, high, loss)
    return loss


def ifmr_loss_points(x: F32, weight: F64, scale: F32, low: F32, high: F32) -> F64:
    """The same of values x that occur weight[i] times each."""
    loss = np.empty(scale.size, np.float64)
    rounding.ifmr_loss_points(x, weight, scale, low, high, loss)
    return loss


def _integers(numbers: npt.NDArray[Any], qtype: DType) -> npt.NDArray[Any]:
    """Rounded numbers in range as integers."""
    with np.errstate(invalid="ignore"):
        return numbers.astype(storage_of(qtype))


def _wide(rows: F32, scale: F32, zero_point: npt.NDArray[np.int64], qtype: DType) -> F64:
    """Integers too wide for float32: a float32 quotient as in AMCT, rounded and clipped in float64."""
    qmin, qmax = qtype.integer_range
    with np.errstate(all="ignore"):
        quotient = (rows / scale[:, None]).astype(np.float64)
    clipped: F64 = np.clip(np.rint(quotient) + zero_point[:, None], qmin, qmax)
    return clipped
