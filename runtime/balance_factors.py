"""Factors of AMCT's DMQ balancer: how much of an input channel's range moves into the weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.scales import FLT_EPSILON

F32 = npt.NDArray[np.float32]


def balance_factors(activation: F32, weight: F32, strength: float) -> F32:
    """One factor per input channel, by which the input is divided and the weight multiplied.

    `activation` and `weight` are the largest magnitudes per input channel, both [C]. With a of the input, w
    of the weight and the migration strength m in [0.2, 0.8], factor = a^m / w^(1-m); where a or w is zero the
    channel gets what makes its other part as large as the largest of all channels, and 1 where both are.
    Factors stay within [FLT_EPSILON, 1 / FLT_EPSILON], as records must.
    """
    one = np.float32(1)
    moved, kept = activation > 0, weight > 0
    both = moved & kept
    factors = np.ones_like(activation)
    share = np.float32(strength)
    factors[both] = _power(activation[both], share) / _power(weight[both], one - share)
    with np.errstate(over="ignore"):  # what overflows is clipped below
        largest_weight = (weight[both] * factors[both]).max(initial=0)
        largest_input = (activation[both] / factors[both]).max(initial=0)
        if both.any():
            factors[kept & ~moved] = largest_weight / weight[kept & ~moved]
            factors[moved & ~kept] = activation[moved & ~kept] / largest_input
    limit = np.float32(FLT_EPSILON)
    return np.clip(factors, limit, one / limit)


def _power(base: F32, exponent: np.float32) -> F32:
    """base^exponent, rounded to float32 once: float32 powers differ between processors in the last bit.

    The reference's do so as well, so its factors are met within 3 units in the last place.
    """
    return (base.astype(np.float64) ** float(exponent)).astype(np.float32)
