"""What a pass may need that the graph does not hold, and the log of what passes did and refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qir.passes.rules import TargetRules
from qir.runtime.progress import SILENT, Progress

if TYPE_CHECKING:  # calibration data are opened by ONNX Runtime's floor; structural passes do without
    from qir.runtime.collect import Taps
    from qir.runtime.data import CalibrationData
    from qir.runtime.measured import Measured
    from qir.runtime.statistics_file import Statistics

    Collect: TypeAlias = Callable[[Taps, CalibrationData, Progress], Measured]
    """Runs calibration data through a graph, as `qir.runtime.collect.collect` does."""


class Applied(NamedTuple):
    """A rewrite of one kind was made at one node (or value)."""

    kind: str
    node: str


class Refused(NamedTuple):
    """A rewrite of one kind did not fit at one node (or value); `reason` is a sentence."""

    kind: str
    node: str
    reason: str


class RewriteLog:
    """Rewrites in the order they were made or refused. A kind is the pass's name or a name below it."""

    def __init__(self) -> None:
        self._events: list[Applied | Refused] = []

    def applied(self, kind: str, node: str) -> None:
        """Note a rewrite of `kind` at the node of that name."""
        self._events.append(Applied(kind, node))

    def refused(self, kind: str, node: str, reason: str) -> None:
        """Note that `kind` looked at the node of that name and left it, and why."""
        self._events.append(Refused(kind, node, reason))

    def events(self, start: int = 0) -> tuple[Applied | Refused, ...]:
        """All entries from number `start` on."""
        return tuple(self._events[start:])

    def __len__(self) -> int:
        return len(self._events)

    def counts(self) -> dict[str, int]:
        """How many rewrites of each kind were made, kinds in the order of their first one."""
        return dict(Counter(e.kind for e in self._events if isinstance(e, Applied)))

    def refusals(self) -> tuple[Refused, ...]:
        """The refusals, each once (a pass that runs twice refuses twice)."""
        return tuple(dict.fromkeys(e for e in self._events if isinstance(e, Refused)))


@dataclass(frozen=True)
class Context:
    """What surrounds a pipeline run.

    `data` are calibration samples; `statistics` were taken before and take their place in `calibrate`, which
    otherwise runs `collect` over the data (None: in threads of this process). `rules` say what the target can
    quantize. `collected` are the statistics that the passes have used so far.
    """

    data: CalibrationData | None = None
    statistics: Statistics | None = None
    collect: Collect | None = None
    rules: TargetRules | None = None
    progress: Progress = SILENT
    rewrites: RewriteLog = field(default_factory=RewriteLog)
    collected: list[Statistics] = field(default_factory=list)
