"""The weight scale of AMCT's AdaRound: by Kullback-Leibler divergence of the clipped histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.kernels import weight_search
from qir.runtime.scales import checked, signed_range, without_tiny
from qir.runtime.weights.method import F32, check_symmetric, checked_rows, in_threads

BINS = 512
"""Bins of the histogram from -max|w| to max|w|."""
_HUGE = 2.0**100  # products of larger numbers with the number of bins may leave float32


@dataclass(frozen=True)
class Kl:
    """AMCT's first scale of AdaRound: the range that keeps most of the distribution of the weights.

    A histogram of BINS bins over [-max|w|, max|w|] is clipped by 0, 1, … bins at either end, `candidates`
    ranges in all, and merged into 2^bits - 1 groups; the least divergence wins, the first of equals. The
    scale is the lower end of that range / -2^(bits - 1).
    """

    candidates: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= BINS // 4:
            raise ConfigError(f"method kl tries 1 to {BINS // 4} candidates, not {self.candidates}")

    def close(self, weights: npt.NDArray[Any], spec: QuantSpec) -> QuantParams:
        """Close `spec` by the histogram of each channel; an all-zero channel gets scale 1.0."""
        check_symmetric("kl", spec)
        if not 2 <= spec.qtype.bits <= 8:
            raise ConfigError(f"method kl is for weights of at most 8 bits, not {spec.qtype.value}")
        rows = checked_rows(weights, spec)
        bound = np.abs(rows).max(axis=1)
        scale = np.ones(bound.shape, np.float32)
        some = np.flatnonzero(bound)
        shrink = np.where(bound[some] > _HUGE, np.float32(1 / _HUGE), np.float32(1))  # exact: powers of two
        shrunk = np.ascontiguousarray(rows[some] * shrink[:, None])
        best = _clipped_bins(shrunk, bound[some] * shrink, 2**spec.qtype.bits - 1, self)
        low = -bound[some]
        width = bound[some] / np.float32(BINS // 2)
        scale[some] = (low + best.astype(np.float32) * width) / np.float32(signed_range(spec.qtype)[0])
        return checked(spec, without_tiny(scale), 0)


def _clipped_bins(rows: F32, bound: F32, levels: int, options: Kl) -> npt.NDArray[np.int64]:
    """How many bins at either end of each row's histogram lie beyond the range that wins."""
    counts = np.zeros((len(rows), BINS), np.int64)
    found = np.empty((len(rows), options.candidates))

    def search(first: int, last: int) -> None:
        weight_search.count_symmetric_bins(rows, bound, first, last, counts)
        weight_search.divergences(counts, levels, first, last, found)

    in_threads(search, len(rows), rows.size + BINS * found.size)
    best: npt.NDArray[np.int64] = found.argmin(axis=1)
    return best
