"""Verifies the graph after every pass, and that a pass which reports no change made none."""

from __future__ import annotations

import difflib

from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments.base import Instrument

_SHOWN_LINES = 12


class VerifyEach(Instrument):
    """Raises VerifyError for an invalid graph, PassError for a pass that changed it and said it had not."""

    def __init__(self) -> None:
        self._text = ""

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        """The first pass must get a valid graph too, or it would be blamed for its input."""
        text = str(graph)
        if text != self._text:  # otherwise it is as the last `after` found it
            verify(graph)
        self._text = text

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        """Check what the pass left and what it said."""
        verify(graph)
        before, self._text = self._text, str(graph)
        if changed or before == self._text:
            return
        difference = difflib.unified_diff(
            before.splitlines(), self._text.splitlines(), "before", "after", lineterm="", n=0
        )
        shown = "\n  ".join(list(difference)[:_SHOWN_LINES])
        raise PassError(
            f"pass '{item.name}' said that it changed nothing, but the graph is another one. Developer of "
            f"the pass: run() must return True when anything changed.\n  {shown}"
        )
