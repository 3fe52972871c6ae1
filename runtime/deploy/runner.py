"""A deploy graph with any of its values tapped, for comparisons: the interface of `qir.runtime.session`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qir.ir.graph import Graph
from qir.runtime.deploy.layers import read_layers
from qir.runtime.deploy.lowering import lower
from qir.runtime.deploy.packed import unpack_weights
from qir.runtime.deploy.self_test import check_arithmetic
from qir.runtime.deploy.session import DeployLayer, check_overflow, public_layer
from qir.runtime.session import Feeds, Session
from qir.runtime.units import Array


class DeployRunner:
    """Runs a deploy graph and fetches values by the names that they have in it.

    `taps` are names of values to fetch beside the outputs. Integers come as floating-point numbers, those
    that a layer reads less their zero point. The other options and errors are those of `DeploySession`.
    """

    def __init__(
        self, graph: Graph, *, taps: Sequence[str] = (), threads: int | None = None, optimize: bool = True
    ) -> None:
        self.inputs = tuple(v.name for v in graph.inputs if v.constant is None)
        self.outputs = tuple(dict.fromkeys(v.name for v in graph.outputs))
        check_arithmetic()
        copy = graph.clone()
        found = read_layers(copy)
        sums = [layer.last.output.name for layer in found.layers]
        self._lowered = lower(copy, replace(found, layers=unpack_weights(copy, found.layers)))
        layers = zip(sums, self._lowered.layers, strict=True)
        self._held = {name: each.accumulator for name, each in layers}
        self._checked = [each for each in self._lowered.layers if each.extremes is not None]
        self._split = [each for each in self._lowered.layers if each.plan.high_bias is not None]
        self._extremes = [name for each in self._checked for name in each.extremes or ()]
        fetched = dict.fromkeys(self._held.get(name, name) for name in taps)
        self._session = Session(
            self._lowered.graph, taps=[*fetched, *self._extremes], threads=threads, optimize=optimize
        )

    @property
    def layers(self) -> tuple[DeployLayer, ...]:
        """The layers that run in integers, in running order."""
        return tuple(public_layer(each) for each in self._lowered.layers)

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """The outputs, or the outputs and taps called `names`, for one set of inputs."""
        wanted = self.outputs if names is None else tuple(names)
        held = {name: self._held.get(name, name) for name in wanted}
        results = self._session.run(
            {**feeds, **self._lowered.scales}, [*dict.fromkeys(held.values()), *self._extremes]
        )
        for each in self._checked:
            check_overflow(each, results)
        results |= {
            each.accumulator: each.sums(results) for each in self._split if each.accumulator in results
        }
        return {name: results[source] for name, source in held.items()}

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        self._session.stop()
