"""Range of data and histograms with power-of-two bins, compiled.

Bin k of width w = 2^exponent holds the numbers x with trunc(x / w) = k, rounded toward zero: bin 0 is (-w,
w), bin k > 0 is [kw, (k+1)w) and bin -k its mirror image. Scaling by a power of two is exact, and so

    trunc(x / 2w) = trunc(trunc(x / w) / 2)

for every float32: doubling the width merges bins, exactly. Data and zero together span less than BINS bins,
of which bin k stands at index k mod BINS whatever the range is; so a growing range moves nothing, and
one-sided data have twice the resolution. Numbers that are zero are counted apart, behind the bins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import COUNT, FLOAT, FLOATS, PATTERNS, Argument, kernel

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]

BINS_LOG2 = 15
BINS = 1 << BINS_LOG2
ZERO_SLOTS = 16
"""Counters of zeros, used in turn: increments of a single one would wait for each other."""
SLOTS = BINS + ZERO_SLOTS
"""Length of an array of counts."""

_BLOCK = 1024
_WRAP = BINS - 1


@kernel(FLOATS, PATTERNS, FLOAT, COUNT, COUNT, Argument("int64", 1), Argument("uint32", 1))
def count_covered(
    x: F32, bits: U32, inverse_width: float, positive: int, negative: int, found: I64, counts: U32
) -> None:
    """Range of x, and its counts in one go where that range is covered already, as it nearly always is.

    `bits` are the bit patterns of x. found = [largest pattern as signed integer, largest and smallest as
    unsigned, 1 if counted]: these are three integer instructions for eight numbers, determine minimum and
    maximum, and show NaN and infinity. Only if the first two are not above `positive` and `negative`, x is
    added to `counts` (SLOTS entries) of bins of width 1 / inverse_width; the limits must be such that data
    within them fit.

    The first loop over a block vectorises; the second is bound by one memory increment per element.
    """
    signed, high, low = np.int32(-0x80000000), np.uint32(0), np.uint32(0xFFFFFFFF)
    for i in range(bits.size):
        u = bits[i]
        s = np.int32(u)
        signed = s if s > signed else signed
        high = u if u > high else high
        low = u if u < low else low
    found[0], found[1], found[2] = signed, high, low
    found[3] = np.int64(signed) <= positive and np.int64(high) <= negative
    if not found[3]:
        return
    index = np.empty(_BLOCK, np.uint16)
    zero_slot = np.empty(_BLOCK, np.int32)
    for i in range(_BLOCK):
        zero_slot[i] = BINS + i % ZERO_SLOTS
    for start in range(0, x.size, _BLOCK):
        block = x[start : start + _BLOCK]
        for i in range(block.size):
            # The slot is read before it is known to be needed: a conditional read would not vectorise.
            v, slot = block[i], zero_slot[i]
            k = np.int32(v * inverse_width) & np.int32(_WRAP)
            index[i] = np.uint16(slot if v == 0 else k)
        for i in range(block.size):
            counts[index[i]] += np.uint32(1)


@kernel(Argument("int64", 1), COUNT, COUNT, COUNT, Argument("int64", 1))
def merge_bins(counts: I64, first: int, last: int, doublings: int, out: I64) -> None:
    """Add the counts of bins first..last, made 2^doublings times as wide, to those of `out`; zeros too."""
    for k in range(first, last + 1):
        merged = k >> doublings if k >= 0 else -(-k >> doublings)
        out[merged & _WRAP] += counts[k & _WRAP]
    for i in range(BINS, SLOTS):
        out[i] += counts[i]
