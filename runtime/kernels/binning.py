"""Histograms with power-of-two bins, and the range of data, compiled; one pass over memory does both.

Bin k of width w = 2^exponent holds the numbers x with trunc(x / w) = k, rounded toward zero: bin 0 is (-w,
w), bin k > 0 is [kw, (k+1)w) and bin -k its mirror image. Scaling by a power of two is exact, and so

    trunc(x / 2w) = trunc(trunc(x / w) / 2)

for every float32: doubling the width merges bins, exactly. Counts stand in an array of 2 * BINS, bin k at
BINS + k.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from qir.runtime.kernels.jit import BITS, FLOATS, kernel

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

BINS_LOG2 = 12
BINS = 1 << BINS_LOG2
"""Bins on either side of zero; the larger side of a histogram uses at least half of them."""

MIN_EXPONENT = -100
"""Finest width, 2^-100: keeps 1/width in float32. Data that small have scale 1 by AMCT's rule anyway."""

BLOCK = 2048
LARGEST_KEY = 0x7F7FFFFF
"""The sort key of the largest finite float32; its mirror image ~LARGEST_KEY is that of the smallest."""


@kernel(types.void(BITS, types.int32[::1]))
def key_range(bits: I32, out: I32) -> None:
    """out = smallest and largest sort key of float32 bit patterns: integers in the order of the numbers.

    Infinities and NaN of either sign lie outside [~LARGEST_KEY, LARGEST_KEY].
    """
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for i in range(bits.size):
        b = bits[i]
        k = b ^ ((b >> np.int32(31)) & np.int32(0x7FFFFFFF))
        low = k if k < low else low
        high = k if k > high else high
    out[0], out[1] = low, high


@kernel(types.int64(FLOATS, types.float32, types.int64[::1]))
def add_counts(x: F32, inverse_width: float, counts: I64) -> int:
    """Count x into the bins of width 1 / inverse_width; returns how many elements are zero."""
    zeros = 0
    for i in range(x.size):
        v = x[i]
        zeros += np.int64(v == 0)
        counts[np.intp(np.uint32(np.int32(v * inverse_width) + np.int32(BINS)))] += 1
    return zeros
