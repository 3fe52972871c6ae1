"""Compiled numerical kernels: the only package that imports numba, and the only one that rounds."""

from qir.runtime.kernels.quantization import (
    fake_quantize,
    ifmr_loss,
    ifmr_loss_density,
    ifmr_loss_points,
    quantize,
    round_half_even,
)
from qir.runtime.kernels.ranges import finite_range, flat_floats

__all__ = [
    "fake_quantize",
    "finite_range",
    "flat_floats",
    "ifmr_loss",
    "ifmr_loss_density",
    "ifmr_loss_points",
    "quantize",
    "round_half_even",
]
