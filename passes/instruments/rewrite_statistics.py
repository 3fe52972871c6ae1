"""Counts the rewrites of every pass, with the places it refused and why."""

from __future__ import annotations

from collections import Counter

from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Applied, Context, Refused
from qir.passes.instruments.base import Instrument


class RewriteStatistics(Instrument):
    """Collects from the context's rewrite log what belongs to each pass of the pipeline."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, tuple[Applied | Refused, ...]]] = []
        self._start = 0

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        """Remember where the log stands."""
        self._start = len(context.rewrites)

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        """Keep what the pass logged."""
        self.runs.append((str(item), context.rewrites.events(self._start)))

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        """What a pass logged before it failed helps to see where."""
        self.runs.append((f"{item} (failed)", context.rewrites.events(self._start)))

    def report(self) -> str:
        """For each pass: how many rewrites of each kind, then each refusal with its reason."""
        lines: list[str] = []
        for text, events in self.runs:
            counts = Counter(e.kind for e in events if isinstance(e, Applied))
            done = ", ".join(f"{count} {kind}" for kind, count in counts.items())
            lines.append(f"{text}: {done or 'no rewrites'}")
            refusals = dict.fromkeys(e for e in events if isinstance(e, Refused))
            lines += [f"  refused {r.kind} at '{r.node}': {r.reason}" for r in refusals]
        return "\n".join(lines) + "\n"
