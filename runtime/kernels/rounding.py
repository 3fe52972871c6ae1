"""The one place that rounds: quantize, fake-quantize, and the loss of a quantization, compiled.

Semantics: `q = clip(rint(x / scale) + zero_point, qmin, qmax)` and `(q - zero_point) * scale`, round half to
even, all in float32 (int32 is rounded and clipped in float64). NaN stays NaN. Every kernel has a twin in
`reference.py`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import DOUBLES, FLAG, FLOAT, FLOATS, MATRIX, Argument, kernel

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

LANES = 256
"""Partial sums of a loss: element i adds to sum i mod LANES, an order of additions that vectorises."""


@kernel(MATRIX, FLOATS, FLOATS, FLOAT, FLOAT, FLAG, Argument("float32", 2))
def fake_quantize_rows(
    x: F32, scale: F32, zero_point: F32, qmin: float, qmax: float, reciprocal: bool, out: F32
) -> None:
    """Fake-quantize each row of x [C, n] by its own scale and zero point into out, another array.

    `reciprocal` multiplies by float32 1/scale instead of dividing, as Ascend does.
    """
    for c in range(x.shape[0]):
        row, target, step, zero = x[c], out[c], scale[c], zero_point[c]
        if reciprocal:
            inverse = np.float32(1) / step
            for i in range(row.size):
                q = np.rint(row[i] * inverse) + zero
                q = qmin if q < qmin else q
                q = qmax if q > qmax else q
                target[i] = (q - zero) * step
        else:
            for i in range(row.size):
                q = np.rint(row[i] / step) + zero
                q = qmin if q < qmin else q
                q = qmax if q > qmax else q
                target[i] = (q - zero) * step


@kernel(MATRIX, FLOATS, FLOATS, FLOAT, FLOAT, FLAG, Argument("float32", 2))
def quantize_rows(
    x: F32, scale: F32, zero_point: F32, qmin: float, qmax: float, reciprocal: bool, out: F32
) -> None:
    """Like `fake_quantize_rows`, but leaves the integers q, as float32 numbers (exact up to 16 bits)."""
    for c in range(x.shape[0]):
        row, target, step, zero = x[c], out[c], scale[c], zero_point[c]
        if reciprocal:
            inverse = np.float32(1) / step
            for i in range(row.size):
                q = np.rint(row[i] * inverse) + zero
                q = qmin if q < qmin else q
                target[i] = qmax if q > qmax else q
        else:
            for i in range(row.size):
                q = np.rint(row[i] / step) + zero
                q = qmin if q < qmin else q
                target[i] = qmax if q > qmax else q


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, Argument("float64", 1))
def ifmr_loss_values(x: F32, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """loss[j] = sum over x of (rint(clip(x, low[j], high[j]) / scale[j]) * scale[j] - x)^2.

    The squares are float32 as in AMCT, their sums float64.
    """
    sums = np.empty(LANES, np.float64)
    n = x.size
    for j in range(scale.size):
        step, lo, hi = scale[j], low[j], high[j]
        sums[:] = 0.0
        for start in range(0, n, LANES):
            block = x[start : min(start + LANES, n)]
            for i in range(block.size):
                v = block[i]
                c = lo if v < lo else v
                c = hi if c > hi else c
                e = np.rint(c / step) * step - v
                sums[i] += np.float64(e * e)
        total = 0.0
        for i in range(LANES):
            total += sums[i]
        loss[j] = total


@kernel(FLOATS, DOUBLES, FLOATS, FLOATS, FLOATS, Argument("float64", 1))
def ifmr_loss_points(x: F32, weight: F64, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """The same loss of values x that occur weight[i] times each."""
    for j in range(scale.size):
        step, lo, hi = scale[j], low[j], high[j]
        total = 0.0
        for i in range(x.size):
            v = x[i]
            c = lo if v < lo else v
            c = hi if c > hi else c
            e = np.rint(c / step) * step - v
            total += weight[i] * np.float64(e * e)
        loss[j] = total


@kernel(DOUBLES, DOUBLES, FLOATS, FLOATS, FLOATS, Argument("float64", 1))
def ifmr_loss_density(edges: F64, density: F64, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """The same loss of data spread evenly between edges: density[b] elements per unit from edges[b] to
    edges[b+1].

    With t = x / scale and q = rint(clip(t)), the antiderivative of (t - q)^2 is F(t) = q/12 + (t - q)^3 / 3:
    it is continuous across the steps, and stays so beyond the clipping range, where q no longer changes.
    """
    sums = np.empty(LANES, np.float64)
    f = np.empty(LANES + 1, np.float64)
    n = density.size
    for j in range(scale.size):
        step = np.float64(scale[j])
        inverse = 1.0 / step
        lo, hi = low[j] * inverse, high[j] * inverse
        sums[:] = 0.0
        for start in range(0, n, LANES):
            size = min(LANES, n - start)
            corners = edges[start : start + size + 1]
            weights = density[start : start + size]
            for i in range(size + 1):
                t = corners[i] * inverse
                c = lo if t < lo else t
                c = hi if c > hi else c
                q = np.rint(c)
                d = t - q
                f[i] = q * (1.0 / 12.0) + d * d * d * (1.0 / 3.0)
            for i in range(size):
                sums[i] += weights[i] * (f[i + 1] - f[i])
        total = 0.0
        for i in range(LANES):
            total += sums[i]
        loss[j] = total * step * step * step
