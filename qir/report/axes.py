"""Axes of charts: where a number lies, and which round numbers are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)
_WANTED = 5
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    """A mark: its place from 0 to 1 along the axis, and its label."""

    place: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """From 0 at `low` to 1 at `high`; numbers beyond lie at the ends."""
        low, high = self._of(self.low), self._of(self.high)
        clipped = min(max(value, self.low), self.high)
        return (self._of(clipped) - low) / (high - low)

    def ticks(self) -> list[Tick]:
        """About five marks at round numbers."""
        numbers = self._round_numbers()
        powers = self.logarithmic and any(not _is_plain(value) for value in numbers)
        return [Tick(self.place(value), _power(value) if powers else _label(value)) for value in numbers]

    def _of(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def _round_numbers(self) -> list[float]:
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, -(-(last - first + 1) // _WANTED))
            return [10.0**power for power in range(first, last + 1, every)]
        step = _round_step((self.high - self.low) / _WANTED)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def linear(values: Iterable[float], room: float = 0.0) -> Axis:
    """An axis that holds all finite `values`, and beyond both ends `room`, a share of what they span."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(found), max(found)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return Axis(low - room * (high - low), high + room * (high - low))


def logarithmic(values: Iterable[float]) -> Axis:
    """A logarithmic axis over all positive `values`, from one power of ten to another."""
    found = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    return Axis(10.0**low, 10.0 ** max(high, low + 1), True)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in _STEPS if power * factor >= step * (1 - 1e-9))


def _is_plain(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e5


def _power(value: float) -> str:
    """A power of ten."""
    return f"10{str(round(math.log10(value))).translate(_RAISED)}"


def _label(value: float) -> str:
    if not _is_plain(value):
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        if exponent:
            power = str(int(exponent)).translate(_RAISED)
            return (f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}").replace("-", "−")
    return f"{value:.6g}".replace("-", "−")
