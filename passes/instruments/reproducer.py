"""Saves the graph as it was before the pass that failed, as a file that is already a test."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from qir.ir.errors import QirError
from qir.ir.files import save_graph
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments.base import Instrument

_LOG = logging.getLogger(__name__)


class Reproducer(Instrument):
    """On failure writes `DIR/reproducer-PASS.qir` (+ `.npz`); its first line is the command that fails again.

    `arguments` are what that command needs besides the pass: `("--data", "calibration.npz")`. `paths` lists
    what was written.
    """

    def __init__(self, directory: Path, arguments: Sequence[str] = ()) -> None:
        self.directory, self.arguments = directory, tuple(arguments)
        self.paths: list[Path] = []
        self._before: Graph | None = None

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        """Keep a copy: it shares the weights, so it is cheap."""
        self._before = graph.clone()

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        """Write the copy. A folder that cannot be written to must not hide the error itself."""
        if self._before is None:
            return
        path = self.directory / f"reproducer-{item.name}.qir"
        command = ["qir-opt", path.name, *self.arguments, "-p", str(item)]
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            save_graph(self._before, path, header=f"RUN: {shlex.join(command)}")
        except (OSError, QirError) as problem:
            _LOG.warning("the reproducer %s could not be written: %s", path, problem)
            return
        self.paths.append(path)
