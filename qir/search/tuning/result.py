"""What tuning tells at its end: phase by phase, and the mixture that came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qir.config.levels.file import Levels
from qir.config.table import Row
from qir.search.configurations import Configuration, lowered
from qir.search.rungs import RUNGS
from qir.search.steps import SearchResult, Step
from qir.search.tuning.ladder import BASE, cost


@dataclass(frozen=True)
class Phase:
    """One phase: the cheapest configuration in it that satisfies, or the nearest.

    `step` is None when nothing was evaluated; `note` says why, or what else there is to say. `evaluated`
    counts the models that the phase looked at.
    """

    name: str
    step: Step | None
    evaluated: int = 0
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether its configuration satisfies; None when nothing was evaluated."""
        return None if self.step is None else self.step.metric_eval[0]

    @property
    def raised(self) -> int | None:
        """How many layers are not INT8 in its configuration; None without one, and for the float model."""
        if self.step is None or self.step.configuration is None:
            return None
        return len(self.step.configuration)


@dataclass(frozen=True)
class TuneResult:
    """The end of tuning: `search` has every step and the files, `phases` the table.

    Without a model that satisfies there is no `config`, unless the nearest one was to be kept. `resolved` is
    what every operand gets of it; both are in the files at `config_path` and `resolved_path`.
    """

    search: SearchResult
    phases: tuple[Phase, ...]
    config: Levels | None
    config_path: Path | None
    resolved_path: Path | None
    resolved: tuple[Row, ...]

    @property
    def reached(self) -> bool:
        """True when a mixture satisfies."""
        return self.search.reached

    @property
    def rungs(self) -> Mapping[str, str]:
        """Layer -> what it was raised to from INT8 in the best mixture."""
        return self.search.rungs


def phase_of(name: str, steps: Sequence[Step], note: str = "") -> Phase:
    """The phase that made these steps; the nearest of them where none satisfies."""
    passed = [step for step in steps if step.metric_eval[0]]
    cheapest = min(passed, key=lambda step: cost(step.configuration or {}), default=None)
    nearest = min(steps, key=lambda step: step.metric_eval[1], default=None)
    return Phase(name, cheapest or nearest, len(steps), note)


def counts(configuration: Configuration | None, total: int) -> dict[str, int]:
    """Precision -> how many of all layers have it, if any; nothing for None, the float model."""
    if configuration is None:
        return {}
    groups = lowered(configuration)
    raised = {str(rung): len(groups.get(rung, ())) for rung in RUNGS}
    found = {BASE: total - len(configuration), **raised}
    return {precision: count for precision, count in found.items() if count}


def described(configuration: Configuration | None, total: int) -> str:
    """How many layers are what: `int8 31, int16 9`; `float model` for None."""
    found = counts(configuration, total)
    return ", ".join(f"{precision} {count}" for precision, count in found.items()) or "float model"
