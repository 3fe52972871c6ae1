"""Prints the graph between passes."""

from __future__ import annotations

from typing import Literal, TextIO

from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments.base import Instrument

When = Literal["after-change", "after-all", "on-failure"]


class PrintIr(Instrument):
    """Writes the IR to `stream` after passes that changed it, after all passes, or only when one failed."""

    def __init__(self, when: When, stream: TextIO) -> None:
        self.when, self.stream = when, stream

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        """Print what the pass made."""
        if self.when == "after-all" or (self.when == "after-change" and changed):
            note = "" if changed else " (no change)"
            self._print(f"after {item}{note}", graph)

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        """Print what the pass left behind, half changed as it may be."""
        if self.when == "on-failure":
            self._print(f"after {item} failed", graph)

    def _print(self, title: str, graph: Graph) -> None:
        self.stream.write(f"// ----- {title}\n{graph}\n")
        self.stream.flush()
