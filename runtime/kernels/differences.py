"""Sums over two arrays that tell how near they are to each other, in one pass, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import FLOATS, Argument, kernel

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

SUMS = 7
"""Σ a², Σ b², Σ a·b, Σ (a - b)², Σ |a - b|, Σ |a|, max |a - b|: entries of the result."""
LANES = 64
"""Partial sums: element i adds to sum i mod LANES, an order of additions that vectorises."""


@kernel(FLOATS, FLOATS, Argument("float64", 1))
def sum_differences(a: F32, b: F32, out: F64) -> None:
    """Fill out (SUMS entries) for a and b of one length; everything is added up in float64."""
    lanes = np.zeros((SUMS, LANES), np.float64)
    aa, bb, ab, square, distance, size, largest = (
        lanes[0], lanes[1], lanes[2], lanes[3], lanes[4], lanes[5], lanes[6],
    )  # fmt: skip
    n = a.size
    for start in range(0, n, LANES):
        x, y = a[start : min(start + LANES, n)], b[start : min(start + LANES, n)]
        for i in range(x.size):
            p, q = np.float64(x[i]), np.float64(y[i])
            d = p - q
            e = abs(d)
            aa[i] += p * p
            bb[i] += q * q
            ab[i] += p * q
            square[i] += d * d
            distance[i] += e
            size[i] += abs(p)
            # A NaN must not get lost: it is neither greater nor smaller.
            largest[i] = e if e > largest[i] or e != e else largest[i]
    for k in range(SUMS - 1):
        total = 0.0
        for i in range(LANES):
            total += lanes[k, i]
        out[k] = total
    top = 0.0
    for i in range(LANES):
        top = largest[i] if largest[i] > top or largest[i] != largest[i] else top
    out[SUMS - 1] = top
