"""Calibration data of which there must be a certain number."""

from __future__ import annotations

from collections.abc import Iterator

from qir.ir.errors import CalibrationError
from qir.runtime.units import CalibrationData, Run, Unit


class AtLeast(CalibrationData):
    """The same data; CalibrationError when they end before `needed` units (samples, or batches of a fixed
    size) have come. That is said at once where the number is known, otherwise at the end of the data.
    """

    def __init__(self, data: CalibrationData, needed: int) -> None:
        self._data, self._needed = data, needed

    @property
    def total(self) -> int | None:
        """Number of units; None while it is not known."""
        return self._data.total

    def units(self, run: Run) -> Iterator[Unit]:
        """The units of the data."""
        if self._data.total is not None:
            check_enough(self._data.total, self._needed)
        count = 0
        for unit in self._data.units(run):
            count += 1
            yield unit
        check_enough(count, self._needed)


def check_enough(count: int, needed: int) -> None:
    """CalibrationError when `count` samples are fewer than `needed`, a configuration's batch_num."""
    if count < needed:
        raise CalibrationError(
            f"insufficient calibration data: batch_num is {needed}, so at least {needed} "
            f"samples are needed, and there are {count}; give more data, or lower batch_num in the "
            "configuration"
        )
