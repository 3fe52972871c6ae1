"""What several methods ask of their options and of the spec that they close."""

from __future__ import annotations

from qir.ir.errors import ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.scales import FLT_EPSILON


def closed_without_scale(spec: QuantSpec) -> QuantParams | None:
    """Params of a spec that needs no statistics (float16, float32), else None; refuses per-channel specs."""
    if spec.qtype.is_float:
        return QuantParams(spec)
    if spec.axis is not None:
        raise ConfigError(
            f"activations are quantized per tensor, but the spec has channel axis {spec.axis}; use axis None"
        )
    return None


def check_percentile(option: str, value: float) -> None:
    """ConfigError when a percentile is no fraction above one half."""
    if not 0.5 < value <= 1:
        hint = f"; for {value} % write {value / 100}" if 50 < value <= 100 else ""
        raise ConfigError(f"{option} must be a fraction above 0.5 and at most 1, not {value}{hint}")


def check_least(method: str, option: str, value: int, least: int) -> None:
    """ConfigError when an integer option is too small."""
    if value < least:
        raise ConfigError(f"{method} needs {option} of at least {least}, not {value}")


def outermost_rank(percentile: float, count: int) -> int:
    """k such that the k-th largest of `count` elements bounds the fraction `percentile` of them."""
    return 1 if 1 - percentile < FLT_EPSILON else max(count - int(percentile * count), 1)
