"""The kernels of `weight_search.py` once more in plain numpy: what they compute, and the tests' oracle."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.rounding import LANES
from qir.runtime.kernels.weight_search import ZERO_BIN

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def projections(x: F32, scale: F32, qmin: float, qmax: float) -> tuple[F64, F64]:
    """Sums of x * q and of q * q over each row of x [C, n], for each candidate of scale [C, K]."""
    q = _integers(x, scale, qmin, qmax).astype(np.float64)
    return _lane_sums(x[:, None].astype(np.float64) * q), _lane_sums(q * q)


def squared_errors(x: F32, scale: F32, qmin: float, qmax: float) -> F64:
    """Sum of (float32(q * scale) - x)^2 over each row, for each candidate."""
    fake = _integers(x, scale, qmin, qmax) * scale[:, :, None]
    return _lane_sums((fake.astype(np.float64) - x[:, None]) ** 2)


def _integers(x: F32, scale: F32, qmin: float, qmax: float) -> F32:
    """q [C, K, n]."""
    q: F32 = np.clip(np.rint(x[:, None] / scale[:, :, None]), np.float32(qmin), np.float32(qmax))
    return q


def _lane_sums(terms: F64) -> F64:
    """Sums over the last axis: element i adds to partial sum i mod LANES, and these add up in order."""
    n = terms.shape[-1]
    lanes = min(max(n, 1), LANES)
    padded = np.zeros((*terms.shape[:-1], -(-max(n, 1) // lanes) * lanes))
    padded[..., :n] = terms
    parts = np.add.accumulate(padded.reshape(*terms.shape[:-1], -1, lanes), axis=-2)[..., -1, :]
    sums: F64 = np.add.accumulate(parts, axis=-1)[..., -1]
    return sums


def count_symmetric_bins(x: F32, bound: F32, bins: int) -> I64:
    """Counts [C, bins] of equal bins from -bound[c] to bound[c]."""
    low = -bound[:, None]
    place = ((x - low) * np.float32(bins) / (bound[:, None] - low)).astype(np.int64)
    return np.stack([np.bincount(np.minimum(row, bins - 1), minlength=bins) for row in place])


def divergences(counts: I64, levels: int, candidates: int) -> F64:
    """Divergence of each histogram from itself, clipped by 0 to candidates - 1 bins and merged."""
    return np.array([[_divergence(row, levels, i) for i in range(candidates)] for row in counts])


def _divergence(counts: I64, levels: int, clipped: int) -> float:
    size = counts.size - 2 * clipped
    p = counts[clipped : clipped + size].astype(np.float64)
    p[0] += counts[:clipped].sum()
    p[-1] += counts[clipped + size :].sum()
    q = np.zeros(size)
    edges = [math.ceil(j * (size / levels)) for j in range(levels)] + [size]
    for start, end in pairwise(edges):
        filled = p[start:end] != 0
        if filled.any():
            q[start:end][filled] = p[start:end].sum() / filled.sum()
    p, q = _without_zeros(p), _without_zeros(q)
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _without_zeros(histogram: F64) -> F64:
    empty = histogram == 0
    extra = ZERO_BIN * empty.sum() / (~empty).sum()
    return np.where(empty, ZERO_BIN, histogram + extra)
