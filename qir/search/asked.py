"""What users ask of a search: which metric satisfies, and how long it may take."""

from __future__ import annotations

from qir.ir.errors import ConfigError
from qir.search.evaluations import Limits
from qir.search.evaluators import MaxDrop, Rule, Threshold


def accuracy_rule(
    max_drop: float | None, at_least: float | None, higher: bool, relative: bool
) -> Rule | None:
    """The rule for metrics that do not decide themselves; ConfigError when two are given."""
    if max_drop is not None and at_least is not None:
        raise ConfigError("max_drop and at_least are two ways to say what satisfies; give one")
    if max_drop is not None:
        return MaxDrop(max_drop, higher, relative)
    return None if at_least is None else Threshold(at_least, higher)


def search_limits(evaluations: int | None, seconds: float | None) -> Limits:
    """The limits of a search; ConfigError for those that would let it do nothing."""
    if evaluations is not None and evaluations < 2:
        raise ConfigError(
            f"max_evaluations must be at least 2 (the original and the quantized model), not {evaluations}"
        )
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"max_time must be more than 0 seconds, not {seconds:g}")
    return Limits(evaluations, seconds)
