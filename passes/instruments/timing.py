"""Measures how long every pass takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments.base import Instrument


class PassTime(NamedTuple):
    """One run of a pass: its text, wall time in seconds, and what became of it."""

    text: str
    seconds: float
    outcome: str


class Timing(Instrument):
    """Wall time of each pass alone: give it last, so that its clock runs inside the other instruments."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.times: list[PassTime] = []
        self._clock, self._start = clock, 0.0

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        """Start the clock."""
        self._start = self._clock()

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        """Stop the clock."""
        self._stop(item, "changed" if changed else "no change")

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        """Stop the clock of a pass that raised."""
        self._stop(item, "failed")

    def _stop(self, item: Pass, outcome: str) -> None:
        self.times.append(PassTime(str(item), self._clock() - self._start, outcome))

    def report(self) -> str:
        """A table: seconds, share of the total, outcome and text of each pass in the order of running."""
        total = sum(t.seconds for t in self.times)
        lines = [f"{'seconds':>9}  {'share':>6}  {'outcome':<9}  pass"]
        for text, seconds, outcome in self.times:
            share = 100 * seconds / total if total else 0.0
            lines.append(f"{seconds:9.3f}  {share:5.1f}%  {outcome:<9}  {text}")
        return "\n".join([*lines, f"{total:9.3f}  100.0%  {'':<9}  total"]) + "\n"
