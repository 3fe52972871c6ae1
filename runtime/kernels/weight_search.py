"""Searches for the scales of weights, compiled: how well candidates fit each channel of a weight.

Channels and candidates are independent of each other, so callers may give ranges of them to several threads:
every number is computed by one thread in one order. Every kernel has a twin in `weight_reference.py`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import COUNT, FLOAT, FLOATS, MATRIX, Argument, kernel
from qir.runtime.kernels.rounding import LANES

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

TABLE = Argument("float64", 2)
ZERO_BIN = 1e-4
"""What an empty bin counts in a divergence; the other bins count more by as much as all empty ones take."""


@kernel(MATRIX, MATRIX, FLOAT, FLOAT, COUNT, COUNT, TABLE, TABLE)
def projections(
    x: F32, scale: F32, qmin: float, qmax: float, first: int, last: int, products: F64, squares: F64
) -> None:
    """Sums of x * q and of q * q over each row of x [C, n], for q = clip(rint(x / scale), qmin, qmax).

    `scale` [C, K] has K candidates for each row. Pairs first to last - 1 are computed, pair c * K + k being
    candidate k of row c; they go into `products` and `squares` [C, K].
    """
    candidates, n = scale.shape[1], x.shape[1]
    lanes = min(n, LANES)
    product, square = np.empty(LANES, np.float64), np.empty(LANES, np.float64)
    for pair in range(first, last):
        c = pair // candidates
        k = pair - c * candidates
        row, step = x[c], scale[c, k]
        product[:lanes] = 0.0
        square[:lanes] = 0.0
        for start in range(0, n, LANES):
            block = row[start : min(start + LANES, n)]
            for i in range(block.size):
                q = np.rint(block[i] / step)
                q = qmin if q < qmin else q
                q = qmax if q > qmax else q
                product[i] += np.float64(block[i]) * np.float64(q)
                square[i] += np.float64(q) * np.float64(q)
        total_product, total_square = 0.0, 0.0
        for i in range(lanes):
            total_product += product[i]
            total_square += square[i]
        products[c, k], squares[c, k] = total_product, total_square


@kernel(MATRIX, MATRIX, FLOAT, FLOAT, COUNT, COUNT, TABLE)
def squared_errors(x: F32, scale: F32, qmin: float, qmax: float, first: int, last: int, errors: F64) -> None:
    """Sum of (float32(q * scale) - x)^2 over each row, in float64; pairs and q as in `projections`."""
    candidates, n = scale.shape[1], x.shape[1]
    lanes = min(n, LANES)
    sums = np.empty(LANES, np.float64)
    for pair in range(first, last):
        c = pair // candidates
        k = pair - c * candidates
        row, step = x[c], scale[c, k]
        sums[:lanes] = 0.0
        for start in range(0, n, LANES):
            block = row[start : min(start + LANES, n)]
            for i in range(block.size):
                q = np.rint(block[i] / step)
                q = qmin if q < qmin else q
                q = qmax if q > qmax else q
                e = np.float64(q * step) - np.float64(block[i])
                sums[i] += e * e
        total = 0.0
        for i in range(lanes):
            total += sums[i]
        errors[c, k] = total


@kernel(MATRIX, FLOATS, COUNT, COUNT, Argument("int64", 2))
def count_symmetric_bins(x: F32, bound: F32, first: int, last: int, counts: I64) -> None:
    """Add rows first to last - 1 to `counts` [C, bins], equal bins from -bound[c] to bound[c].

    The bin is float32 (x + bound) * bins / (2 * bound), rounded down; that of the bound itself is the last.
    """
    bins = counts.shape[1]
    for c in range(first, last):
        low = -bound[c]
        width, row = bound[c] - low, x[c]
        for i in range(row.size):
            k = np.int64((row[i] - low) * np.float32(bins) / width)
            counts[c, k if k < bins else bins - 1] += 1


@kernel(Argument("int64", 2), COUNT, COUNT, COUNT, TABLE)
def divergences(counts: I64, levels: int, first: int, last: int, result: F64) -> None:
    """Kullback-Leibler divergence of histograms from themselves, clipped and merged into `levels` groups.

    result[c, i]: of histogram c, i bins are clipped at either end, their elements counted in the outermost
    bins that are left. These are merged into groups of (nearly) equal numbers of bins, and the elements of a
    group spread evenly over its bins that are not empty. An empty bin counts ZERO_BIN before and after and
    adds nothing to the divergence; the others count more by what all empty ones count together.
    """
    bins = counts.shape[1]
    p = np.empty(bins, np.float64)
    for c in range(first, last):
        below, above = 0.0, 0.0
        for i in range(result.shape[1]):
            size = bins - 2 * i
            for k in range(size):
                p[k] = counts[c, i + k]
            p[0] += below
            p[size - 1] += above
            below += counts[c, i]
            above += counts[c, bins - 1 - i]
            mass, filled = 0.0, 0
            for k in range(size):
                mass += p[k]
                filled += p[k] != 0
            extra = ZERO_BIN * (size - filled) / filled
            divergence, width, start = 0.0, size / levels, 0
            for j in range(levels):
                end = math.ceil((j + 1) * width) if j < levels - 1 else size
                held, spread = 0.0, 0
                for k in range(start, end):
                    held += p[k]
                    spread += p[k] != 0
                for k in range(start, end):
                    if spread > 1 and p[k] != 0:
                        v = p[k] + extra
                        divergence += v * math.log(v / (held / spread + extra))
                start = end
            result[c, i] = divergence / (mass + 2.0 * ZERO_BIN * (size - filled))
