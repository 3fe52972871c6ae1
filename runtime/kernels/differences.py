"""Sums over two arrays that tell how near they are to each other, in one pass, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import FLOATS, Argument, kernel

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

PRODUCTS = 3
"""Σ a², Σ b², Σ a·b: entries that `sum_products` fills."""
DIFFERENCES = 5
"""Σ a², Σ (a - b)², Σ |a - b|, Σ |a|, max |a - b|: entries that `sum_differences` fills."""
LANES = 64
"""Partial sums: element i adds to sum i mod LANES, an order of additions that vectorises."""
BLOCK = 4 * LANES
"""Elements taken at a time: four products are added up in registers for one access to a partial sum."""


@kernel(FLOATS, FLOATS, Argument("float64", 1))
def sum_products(a: F32, b: F32, out: F64) -> None:
    """Fill out (PRODUCTS entries) for a and b of one length; everything is added up in float64."""
    lanes = np.zeros((PRODUCTS, LANES), np.float64)
    aa, bb, ab = lanes[0], lanes[1], lanes[2]
    full = a.size - a.size % BLOCK
    for s in range(0, full, BLOCK):
        x, y = a[s : s + BLOCK], b[s : s + BLOCK]
        for i in range(LANES):
            p, q = np.float64(x[i]), np.float64(y[i])
            r, t = np.float64(x[i + LANES]), np.float64(y[i + LANES])
            u, v = np.float64(x[i + 2 * LANES]), np.float64(y[i + 2 * LANES])
            w, z = np.float64(x[i + 3 * LANES]), np.float64(y[i + 3 * LANES])
            aa[i] += (p * p + r * r) + (u * u + w * w)
            bb[i] += (q * q + t * t) + (v * v + z * z)
            ab[i] += (p * q + r * t) + (u * v + w * z)
    for j in range(full, a.size):
        p, q, i = np.float64(a[j]), np.float64(b[j]), (j - full) % LANES
        aa[i] += p * p
        bb[i] += q * q
        ab[i] += p * q
    for k in range(PRODUCTS):
        total = 0.0
        for i in range(LANES):
            total += lanes[k, i]
        out[k] = total


@kernel(FLOATS, FLOATS, Argument("float64", 1))
def sum_differences(a: F32, b: F32, out: F64) -> None:
    """Fill out (DIFFERENCES entries) for a and b of one length; everything is added up in float64."""
    lanes = np.zeros((DIFFERENCES, LANES), np.float64)
    aa, square, distance, size, largest = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4]
    full = a.size - a.size % BLOCK
    for s in range(0, full, BLOCK):
        x, y = a[s : s + BLOCK], b[s : s + BLOCK]
        for i in range(LANES):
            p, q = np.float64(x[i]), np.float64(x[i + LANES])
            r, t = np.float64(x[i + 2 * LANES]), np.float64(x[i + 3 * LANES])
            c, d = abs(p - np.float64(y[i])), abs(q - np.float64(y[i + LANES]))
            e, f = abs(r - np.float64(y[i + 2 * LANES])), abs(t - np.float64(y[i + 3 * LANES]))
            aa[i] += (p * p + q * q) + (r * r + t * t)
            square[i] += (c * c + d * d) + (e * e + f * f)
            distance[i] += (c + d) + (e + f)
            size[i] += (abs(p) + abs(q)) + (abs(r) + abs(t))
            g, h = (c if c > d else d), (e if e > f else f)
            m = g if g > h else h
            largest[i] = m if m > largest[i] else largest[i]
    for j in range(full, a.size):
        p, i = np.float64(a[j]), (j - full) % LANES
        c = abs(p - np.float64(b[j]))
        aa[i] += p * p
        square[i] += c * c
        distance[i] += c
        size[i] += abs(p)
        largest[i] = c if c > largest[i] else largest[i]
    for k in range(DIFFERENCES - 1):
        total = 0.0
        for i in range(LANES):
            total += lanes[k, i]
        out[k] = total
    top = 0.0
    for i in range(LANES):
        top = largest[i] if largest[i] > top else top
    # A NaN is neither greater nor smaller, and gets lost in a maximum but not in a sum.
    out[DIFFERENCES - 1] = top if out[2] == out[2] else out[2]
