"""A finding: what a rule says about one node of a deploy graph, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""An error is refused by ATC or gives wrong numbers on the device, a warning may; an info is good to know."""


@dataclass(frozen=True)
class Finding:
    """`sentence` says what is wrong with `node` (empty: the graph as a whole), `cure` what to do about it."""

    severity: Severity
    rule: str
    node: str
    sentence: str
    cure: str

    def __str__(self) -> str:
        where = f"'{self.node}': " if self.node else ""
        return f"{self.severity} [{self.rule}] {where}{self.sentence}; {self.cure}"
