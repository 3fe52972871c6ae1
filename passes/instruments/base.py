"""What watches a pipeline run: the hooks that the pass manager calls around every pass."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context


class Instrument:
    """A listener with hooks that do nothing; a subclass overrides those it needs.

    Instruments nest like a stack: `before` is called first to last, `after` and `failed` last to first. An
    instrument leaves the graph alone, and prints only to a stream that it was given.
    """

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        """The pass is about to run. An error here is the graph's fault, not the pass's."""

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        """The pass returned `changed`. An error raised here counts as a failure of the pass."""

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        """The pass, or the `after` of an instrument, raised `error`; the graph may be half changed."""
