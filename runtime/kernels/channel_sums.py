"""Sums over each channel of two arrays at once, compiled: what a shift per channel does to their distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import COUNT, FLOATS, Argument, kernel

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

CHANNEL_SUMS = 5
"""Σ a, Σ b, Σ a², Σ b², Σ a·b: rows that `sum_channels` fills."""
LANES = 16
"""Partial sums within a channel: element i adds to sum i mod LANES, an order that vectorises."""


@kernel(FLOATS, FLOATS, COUNT, COUNT, Argument("float64", 2))
def sum_channels(a: F32, b: F32, channels: int, inner: int, out: F64) -> None:
    """Fill out [CHANNEL_SUMS, channels] for two arrays [outer, channels, inner], flat; all in float64."""
    out[:] = 0.0
    outer = a.size // (channels * inner)
    if inner == 1:
        for o in range(outer):
            x, y = a[o * channels : (o + 1) * channels], b[o * channels : (o + 1) * channels]
            for c in range(channels):
                p, q = np.float64(x[c]), np.float64(y[c])
                out[0, c] += p
                out[1, c] += q
                out[2, c] += p * p
                out[3, c] += q * q
                out[4, c] += p * q
        return
    lanes = np.zeros((CHANNEL_SUMS, LANES), np.float64)
    full = inner - inner % LANES
    for row in range(outer * channels):
        lanes[:] = 0.0
        start = row * inner
        for s in range(start, start + full, LANES):
            x, y = a[s : s + LANES], b[s : s + LANES]
            for i in range(LANES):
                p, q = np.float64(x[i]), np.float64(y[i])
                lanes[0, i] += p
                lanes[1, i] += q
                lanes[2, i] += p * p
                lanes[3, i] += q * q
                lanes[4, i] += p * q
        for i in range(inner - full):
            p, q = np.float64(a[start + full + i]), np.float64(b[start + full + i])
            lanes[0, i] += p
            lanes[1, i] += q
            lanes[2, i] += p * p
            lanes[3, i] += q * q
            lanes[4, i] += p * q
        c = row % channels
        for k in range(CHANNEL_SUMS):
            total = 0.0
            for i in range(LANES):
                total += lanes[k, i]
            out[k, c] += total
