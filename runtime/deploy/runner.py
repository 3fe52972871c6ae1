"""A deploy graph with any of its values tapped, for comparisons: the interface of `qir.runtime.session`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qir.ir.graph import Graph
from qir.runtime.deploy.layers import DeployGraph, read_layers
from qir.runtime.deploy.lowering import Lowered, lower
from qir.runtime.deploy.packed import unpack_weights
from qir.runtime.deploy.self_test import check_arithmetic
from qir.runtime.deploy.session import check_overflow
from qir.runtime.session import Feeds, Session
from qir.runtime.units import Array


class DeployRunner:
    """Runs a deploy graph and fetches values by the names that they have in it.

    `taps` are names of values to fetch beside the outputs. Integers come as floating-point numbers, those
    that a layer reads less their zero point. The other options and errors are those of `DeploySession`.

    The session opens with the first feed: its shapes tell which weights are packed where the model's inputs
    are of open size.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        taps: Sequence[str] = (),
        threads: int | None = None,
        optimize: bool = True,
        arena: bool = True,
    ) -> None:
        self.inputs = tuple(v.name for v in graph.inputs if v.constant is None)
        self.outputs = tuple(dict.fromkeys(v.name for v in graph.outputs))
        check_arithmetic()
        self._graph = graph.clone()
        self._found = read_layers(self._graph)  # errors of the graph come now
        self._taps, self._threads, self._optimize, self._arena = tuple(taps), threads, optimize, arena
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs, or the outputs and taps called `names`, for one set of inputs."""
        return self._open(feeds).run(feeds, self.outputs if names is None else names)

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        with self._lock:
            if self._opened is not None:
                self._opened.session.stop()

    def _open(self, example: Feeds) -> _Opened:
        with self._lock:
            if self._opened is None:
                sums = [layer.last.output.name for layer in self._found.layers]
                lowered = _lowered(self._graph, self._found, example)
                fetched = _fetched(lowered, sums, self._taps)
                session = Session(
                    lowered.graph,
                    taps=fetched,
                    threads=self._threads,
                    optimize=self._optimize,
                    arena=self._arena,
                )
                self._opened = _Opened(lowered, sums, session)
            return self._opened


class _Opened:
    """The lowered graph in a session."""

    def __init__(self, lowered: Lowered, sums: Sequence[str], session: Session) -> None:
        self.lowered, self.session = lowered, session
        self._held = _accumulators(lowered, sums)
        self._checked = [each for each in lowered.layers if each.extremes is not None]
        self._split = [each for each in lowered.layers if each.plan.high_bias is not None]
        self._extremes = _extremes(lowered)

    def run(self, feeds: Feeds, names: Sequence[str]) -> dict[str, Array]:
        """Values by the names that they have in the deploy graph."""
        held = {name: self._held.get(name, name) for name in names}
        wanted = [*dict.fromkeys(held.values()), *self._extremes]
        results = self.session.run({**feeds, **self.lowered.scales}, wanted)
        for each in self._checked:
            check_overflow(each, results)
        results |= {
            each.accumulator: each.sums(results) for each in self._split if each.accumulator in results
        }
        return {name: results[source] for name, source in held.items()}


def lower_for(graph: Graph, example: Feeds, shapes: Mapping[str, Sequence[int]]) -> Lowered:
    """A deploy graph (left as it is) on floats, for feeds like `example`; errors as of `DeploySession`.

    `shapes` are those of the weights by the name of their layer, as far as they are known: which weights are
    packed need not be found out there.
    """
    check_arithmetic()
    copy = graph.clone()
    return _lowered(copy, read_layers(copy), example, shapes)


def _lowered(
    graph: Graph, found: DeployGraph, example: Feeds, shapes: Mapping[str, Sequence[int]] | None = None
) -> Lowered:
    """Lowers `graph` in place."""
    layers = unpack_weights(graph, found.layers, example, shapes).layers
    return lower(graph, replace(found, layers=layers))


def _accumulators(lowered: Lowered, sums: Sequence[str]) -> dict[str, str]:
    """Where the lowered graph holds the sums of the layers, by their names in the deploy graph."""
    return {name: each.accumulator for name, each in zip(sums, lowered.layers, strict=True)}


def _extremes(lowered: Lowered) -> list[str]:
    return [name for each in lowered.layers for name in each.extremes or ()]


def _fetched(lowered: Lowered, sums: Sequence[str], taps: Sequence[str]) -> list[str]:
    held = _accumulators(lowered, sums)
    return [*dict.fromkeys(held.get(name, name) for name in taps), *_extremes(lowered)]
