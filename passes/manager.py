"""Runs a pipeline over a graph, with instruments around every pass."""

from __future__ import annotations

from collections.abc import Iterable

from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments.base import Instrument
from qir.passes.pipeline import parse_pipeline, print_pipeline


class PassCrash(RuntimeError):
    """A pass failed by an exception that is no QirError: a defect of the pass, not of its input.

    Not a QirError itself, so that no caller takes a defect for bad input; the exception is its `__cause__`.
    """


class PassManager:
    """A pipeline with its instruments; `pipeline` is a text or passes. It keeps nothing between runs."""

    def __init__(self, pipeline: str | Iterable[Pass], instruments: Iterable[Instrument] = ()) -> None:
        self.passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else tuple(pipeline)
        self.instruments = tuple(instruments)

    def run(self, graph: Graph, context: Context | None = None) -> bool:
        """Change `graph` in place by every pass in order; True when any of them changed something.

        A QirError of a pass keeps its type and gets the pass and its predecessors added to its message; any
        other exception comes out as `PassCrash` from it. The graph is then as the failing pass left it.
        """
        surroundings = Context() if context is None else context
        changed = False
        for i in range(len(self.passes)):
            changed |= self._run_pass(i, graph, surroundings)
        return changed

    def _run_pass(self, i: int, graph: Graph, context: Context) -> bool:
        item = self.passes[i]
        for instrument in self.instruments:
            instrument.before(item, graph, context)
        try:
            changed = item.run(graph, context)
            for instrument in reversed(self.instruments):
                instrument.after(item, graph, context, changed)
        except Exception as error:
            for instrument in reversed(self.instruments):
                instrument.failed(item, graph, context, error)
            if isinstance(error, QirError):
                error.args = (f"{error}\n  in {self._place(i)}",)
                raise
            kind = type(error).__name__
            raise PassCrash(f"a defect in {self._place(i)}: {kind}: {error}") from error
        return changed

    def _place(self, i: int) -> str:
        """`pass 3 of 5, 'calibrate{method=ifmr}', after infer-types,fuse-bn`."""
        before = f", after {print_pipeline(self.passes[:i])}" if i else ""
        return f"pass {i + 1} of {len(self.passes)}, '{self.passes[i]}'{before}"

    def __str__(self) -> str:
        return print_pipeline(self.passes)
