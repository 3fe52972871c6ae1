"""Scale and zero point of a range: AMCT's arithmetic, every operation in float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.kernels import round_half_even

FLT_EPSILON = np.finfo(np.float32).eps
"""Scales below this become 1.0, which quantizes (all but) zero data to the zero point."""
LEAST_FLOAT = np.float32(2**-100)
"""The least scale where no hardware multiplies by its inverse; products of two are still normal numbers
with scales of usual size."""
NO_SCALE = f"the scale would be below {FLT_EPSILON:.2g}"
"""Why `is_lost`, in words."""

_F16_LEAST, _F16_MOST = np.float32(2**-14), np.float32(65504)

F32 = npt.NDArray[np.float32]


def signed_range(qtype: DType) -> tuple[int, int]:
    """(qmin, qmax) of the signed integer type as wide as `qtype`."""
    half = 1 << (qtype.bits - 1)
    return -half, half - 1


def symmetric_bound_and_steps(minimum: F32, maximum: F32, qtype: DType) -> tuple[F32, F32]:
    """The largest magnitude and the number of steps that it gets.

    A signed type gives 2^(n-1) steps when the largest magnitude is negative and one less otherwise; an
    unsigned type 2^n - 1, and refuses negative data.
    """
    low, high = np.abs(minimum), np.abs(maximum)
    bound = np.maximum(low, high)
    if qtype.integer_range[0] == 0:
        if np.any(minimum < 0):
            raise CalibrationError(
                f"symmetric {qtype.value} cannot hold negative values "
                f"(the smallest is {float(np.min(minimum))!r}); use an asymmetric or a signed type"
            )
        return bound, np.full_like(bound, qtype.integer_range[1])
    qmin, qmax = signed_range(qtype)
    return bound, np.where(high < low, np.float32(-qmin), np.float32(qmax))


def without_tiny(scale: F32, least: np.float32 = FLT_EPSILON) -> F32:
    """Scales with those below `least` replaced by 1.0."""
    return np.where(scale < least, np.float32(1), scale).astype(np.float32)


def in_float16(scale: F32) -> F32:
    """Scales as AMCT's FORCE_FP16_QUANT has them: rounded to float16.

    Scales outside float16's normal range become the square of their root, which is rounded instead.
    """
    with np.errstate(over="ignore"):
        direct = scale.astype(np.float16).astype(np.float32)
    root = np.sqrt(scale).astype(np.float16).astype(np.float32)
    return np.where((scale >= _F16_LEAST) & (scale <= _F16_MOST), direct, root * root).astype(np.float32)


def unusable_range(minimum: float, maximum: float) -> str | None:
    """Why data of that range cannot be calibrated by AMCT's rule, or None; all-zero data can.

    The hardware multiplies by the inverse of the scale: a range must be within [FLT_EPSILON, 1/FLT_EPSILON].
    """
    width = max(maximum, 0.0) - min(minimum, 0.0)
    least, most = float(FLT_EPSILON), 1 / float(FLT_EPSILON)
    if width == 0 or least <= width <= most:
        return None
    return (
        f"has the range [{minimum:.3g}, {maximum:.3g}], whose width is not within [{least:.3g}, {most:.3g}]"
    )


def is_lost(params: QuantParams, largest: float) -> bool:
    """True when data of that largest magnitude are too small for a scale, so that all of them become zero."""
    return 0 < largest < 0.5 and len(params.scale) > 0 and all(scale == 1 for scale in params.scale)


def zero_point_of(offset: npt.ArrayLike, qtype: DType) -> npt.NDArray[np.int64]:
    """Zero points from offsets of the signed type: shifted for an unsigned one, clipped to its range."""
    qmin, qmax = qtype.integer_range
    with np.errstate(invalid="ignore"):  # where a range overflowed; `checked` refuses its scale
        shifted = np.asarray(offset, np.float64).astype(np.int64) + (qmin - signed_range(qtype)[0])
    return np.clip(shifted, qmin, qmax)


def checked(spec: QuantSpec, scale: npt.ArrayLike, zero_point: npt.ArrayLike) -> QuantParams:
    """`spec` closed by scales; CalibrationError when one or its inverse is not a positive finite float32."""
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    with np.errstate(all="ignore"):
        usable = np.isfinite(scales) & np.isfinite(np.float32(1) / scales) & (scales > 0)
    if not usable.all():
        raise CalibrationError(
            f"the range of the data gives scale {float(scales[~usable][0])!r}, which float32 cannot use; "
            "normalize the data or leave the layer in float"
        )
    return QuantParams.of(spec, scales, zero_point)


def params_of_range(
    minimum: npt.ArrayLike, maximum: npt.ArrayLike, spec: QuantSpec, *, least: np.float32 = FLT_EPSILON
) -> QuantParams:
    """Close `spec` for data in [minimum, maximum]: numbers, or one entry per channel.

    Asymmetric ranges are widened to contain 0. Scales below `least` become 1.0.
    """
    low = np.atleast_1d(np.asarray(minimum, np.float32))
    high = np.atleast_1d(np.asarray(maximum, np.float32))
    if spec.symmetric:
        bound, steps = symmetric_bound_and_steps(low, high, spec.qtype)
        return checked(spec, without_tiny(bound / steps, least), 0)
    low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
    qmin, qmax = signed_range(spec.qtype)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = (high - low) / np.float32(qmax - qmin)
    tiny = scale < least
    scale = without_tiny(scale, least)
    offset = np.where(tiny, np.float32(qmin), round_half_even(np.float32(qmin) - low / scale))
    return checked(spec, scale, zero_point_of(offset, spec.qtype))
