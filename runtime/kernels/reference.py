"""The kernels once more in plain numpy: the definition of what they compute, and the tests' oracle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.binning import BINS, SLOTS, ZERO_SLOTS
from qir.runtime.kernels.rounding import LANES

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]


def quantize_rows(
    x: F32, scale: F32, zero_point: F32, qmin: float, qmax: float, reciprocal: bool, out: F32
) -> None:
    """Integers of each row of x [C, n] by its own scale and zero point, as float32 numbers, into out."""
    step, zero = scale[:, None], zero_point[:, None]
    with np.errstate(all="ignore"):
        ratio = x * (np.float32(1) / step) if reciprocal else x / step
    out[...] = np.clip(np.rint(ratio) + zero, np.float32(qmin), np.float32(qmax))


def fake_quantize_rows(
    x: F32, scale: F32, zero_point: F32, qmin: float, qmax: float, reciprocal: bool, out: F32
) -> None:
    """`(q - zero_point) * scale` of each row of x [C, n], into out."""
    quantize_rows(x, scale, zero_point, qmin, qmax, reciprocal, out)
    out[...] = (out - zero_point[:, None]) * scale[:, None]


def _lane_sum(terms: F64) -> float:
    """Element i adds to partial sum i mod LANES, and these add up from first to last."""
    padded = np.zeros(-(-max(terms.size, 1) // LANES) * LANES)
    padded[: terms.size] = terms
    lanes = np.add.accumulate(padded.reshape(-1, LANES), axis=0)[-1]
    return float(np.add.accumulate(lanes)[-1])


def ifmr_loss_values(x: F32, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """Sum of squared errors of x under each candidate (scale, low, high)."""
    for j, (step, lo, hi) in enumerate(zip(scale, low, high, strict=True)):
        with np.errstate(all="ignore"):
            error = np.rint(np.clip(x, lo, hi) / step) * step - x
            loss[j] = _lane_sum((error * error).astype(np.float64))


def ifmr_loss_points(x: F32, weight: F64, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """The same loss of values that occur weight[i] times each."""
    for j, (step, lo, hi) in enumerate(zip(scale, low, high, strict=True)):
        with np.errstate(all="ignore"):
            error = np.rint(np.clip(x, lo, hi) / step) * step - x
            terms = weight * (error * error).astype(np.float64)
            loss[j] = np.add.accumulate(terms)[-1] if terms.size else 0.0


def ifmr_loss_density(edges: F64, density: F64, scale: F32, low: F32, high: F32, loss: F64) -> None:
    """The same loss of data spread evenly between edges, by the antiderivative of the squared error."""
    for j, step in enumerate(scale.astype(np.float64)):
        inverse = 1.0 / step
        t = edges * inverse
        q = np.rint(np.clip(t, low[j] * inverse, high[j] * inverse))
        d = t - q
        f = q * (1.0 / 12.0) + d * d * d * (1.0 / 3.0)
        loss[j] = _lane_sum(density * np.diff(f)) * step * step * step


def count_covered(
    x: F32, bits: U32, inverse_width: float, positive: int, negative: int, found: I64, counts: U32
) -> None:
    """Extremes of the patterns of x, and if covered its counts of bins trunc(x * inverse_width) mod BINS.

    Zeros count behind the bins.
    """
    found[:3] = -(2**31), 0, 2**32 - 1
    if bits.size:
        found[:3] = int(bits.view(np.int32).max()), int(bits.max()), int(bits.min())
    found[3] = found[0] <= positive and found[1] <= negative
    if found[3]:
        bins = np.trunc(x * np.float32(inverse_width)).astype(np.int64) % BINS
        turn = BINS + np.arange(x.size) % ZERO_SLOTS
        counts += np.bincount(np.where(x == 0, turn, bins), minlength=SLOTS).astype(np.uint32)


def merge_bins(counts: I64, first: int, last: int, doublings: int, out: I64) -> None:
    """Add bins first..last to bins 2^doublings times as wide in `out`; bin numbers round toward zero."""
    bins = np.arange(first, last + 1)
    merged = np.sign(bins) * (np.abs(bins) >> doublings)
    np.add.at(out, merged % BINS, counts[bins % BINS])
    out[BINS:] += counts[BINS:]
