"""Proves that a deploy graph computes the integers of its fake-quant graph, by running both on samples.

The deploy graph runs exactly. The fake-quant graph sums the same integers as float32 numbers, with ONNX
Runtime's optimizations off, since these multiply scales into weights and round before they sum. Float32 sums
are exact, whatever their order, when the largest partial sum that weights, bias and input range allow stays
below 2^24: then every integer must be equal, and a single one that is not is a fault of the written graph.
Layers with a larger bound cannot be proven this way: their sums may differ by rounding, which then may move
what follows. All layers must store the same numbers in both graphs, whether or not a sample shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from qir.backends.layer_values import LayerValues, layer_values
from qir.backends.same_parameters import check_parameters
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.runtime.bounds import EXACT_FLOAT32
from qir.runtime.deploy.runner import DeployRunner
from qir.runtime.session import Feeds, Session, aligned_copy
from qir.runtime.units import Array

_ROUNDING = 2.0**-22
"""What float32 sums of integers may be off, as a part of the bound; 1 at least."""


@dataclass(frozen=True)
class LayerProof:
    """One layer: its bound, how many integers were compared, how many differed and how far.

    `read` counts the integers that it reads, `compared` these and its sums; `flips` those that it reads
    which change when ONNX Runtime runs the fake-quant graph with its default optimizations. `moved` says that
    an unprovable layer in front changed some of what it reads, so that its sums were not held to equality.
    """

    name: str
    op: str
    bound: int
    read: int
    compared: int
    different: int
    max_difference: float
    flips: int
    moved: bool

    @property
    def provable(self) -> bool:
        """True when float32 sums of this layer are exact."""
        return self.bound < EXACT_FLOAT32


@dataclass(frozen=True)
class OutputDifference:
    """The greatest difference of one output between the two graphs; 0 when equal to the bit."""

    name: str
    max_abs: float


@dataclass(frozen=True)
class Proof:
    """What was shown on `samples` samples; layers are in running order."""

    samples: int
    layers: tuple[LayerProof, ...]
    outputs: tuple[OutputDifference, ...]

    @property
    def unprovable(self) -> tuple[LayerProof, ...]:
        """The layers whose bound reaches 2^24."""
        return tuple(layer for layer in self.layers if not layer.provable)

    @property
    def moved(self) -> tuple[LayerProof, ...]:
        """The layers that unprovable layers in front kept from being compared to the bit."""
        return tuple(layer for layer in self.layers if layer.moved)

    @property
    def compared(self) -> int:
        """Integers compared in all layers."""
        return sum(layer.compared for layer in self.layers)

    @property
    def different(self) -> int:
        """Integers that differ: in or behind unprovable layers only."""
        return sum(layer.different for layer in self.layers)

    @property
    def read(self) -> int:
        """Integers that all layers read."""
        return sum(layer.read for layer in self.layers)

    @property
    def flips(self) -> int:
        """Integers read that ONNX Runtime's default optimizations change in the fake-quant graph."""
        return sum(layer.flips for layer in self.layers)

    @property
    def max_abs(self) -> float:
        """The greatest difference of any output."""
        return max((output.max_abs for output in self.outputs), default=0.0)


def prove(fake_quant: Graph, deploy: Graph, samples: Sequence[Feeds]) -> Proof:
    """Run both graphs on one sample or more, the fake-quant graph also optimized, and compare the layers.

    `fake_quant` is of form `ascend`. BackendError names the layer whose integers differ without excuse or
    whose parameters differ, or the output where no layer explains it.
    """
    runs = _Runs(fake_quant, deploy, samples[0])
    tallies = [_Tally(pair) for pair in runs.pairs]
    outputs = dict.fromkeys(runs.deploy.outputs, 0.0)
    for i, feeds in enumerate(samples):  # one at a time: a sample's tensors are the memory that this takes
        found = runs.run(feeds)
        excused = False
        for tally in tallies:
            excused = tally.add(found, excused, f"sample {i}")
        for name, largest in outputs.items():
            outputs[name] = max(largest, _largest(found.exact[name], found.deploy[name]))
            if outputs[name] and not excused:
                raise BackendError(_fault_behind(name, outputs[name], f"sample {i}"))
        exact = found.exact
        del found
        optimized = runs.run_optimized(feeds)
        for tally in tallies:
            tally.add_flips(exact, optimized)
    for stored in runs.deploy.parameters(samples[0]):
        check_parameters(fake_quant, stored)
    differences = tuple(OutputDifference(name, largest) for name, largest in outputs.items())
    return Proof(len(samples), tuple(tally.result() for tally in tallies), differences)


def _fault_behind(name: str, largest: float, where: str) -> str:
    return (
        f"output '{name}' of the deploy graph differs from the fake-quant graph by up to {largest:.4g} on "
        f"{where}, though the integers of all layers are equal: an AscendDequant or a float op behind the "
        "last layer is wrong"
    )


@dataclass(frozen=True)
class _LayerPair:
    """A layer and its values in both graphs."""

    fake_quant: LayerValues
    deploy: LayerValues
    bound: int


@dataclass(frozen=True)
class _Found:
    """Values of one sample by name: of the fake-quant graph as written, and of the deploy graph."""

    exact: Mapping[str, Array]
    deploy: Mapping[str, Array]


class _Runs:
    """The three sessions, and the layers to compare."""

    def __init__(self, fake_quant: Graph, deploy: Graph, example: Feeds) -> None:
        ours, theirs = (
            {name: values for name, values in layer_values(graph).items() if values.is_quantized}
            for graph in (fake_quant, deploy)
        )
        alone = next((name for name in theirs if name not in ours), None)
        if alone is not None:
            raise BackendError(f"layer '{alone}' is quantized in the deploy graph only")
        read = list(dict.fromkeys(_integers(values)[0] for values in ours.values()))
        sums = [_integers(values)[1] for values in ours.values()]
        taps = list(dict.fromkeys(name for values in theirs.values() for name in _integers(values)))
        self.deploy = DeployRunner(deploy, taps=taps, threads=1, optimize=False, arena=False)
        with ThreadPoolExecutor(1) as beside:
            layers = beside.submit(self.deploy.open, example)
            self.exact = Session(fake_quant, taps=[*read, *sums], threads=1, optimize=False, arena=False)
            self.optimized = Session(fake_quant, taps=read, threads=1, arena=False)
            self.pairs = [_LayerPair(ours[x.name], theirs[x.name], x.bound) for x in layers.result()]
        self._taps = [*self.deploy.outputs, *taps]

    def run(self, feeds: Feeds) -> _Found:
        """All values of one sample."""
        aligned = {name: aligned_copy(array) for name, array in feeds.items()}
        with ThreadPoolExecutor(1) as beside:
            deployed = beside.submit(self.deploy.run, aligned, self._taps)
            return _Found(self.exact.run(aligned), deployed.result())

    def run_optimized(self, feeds: Feeds) -> dict[str, Array]:
        """What the layers read in one sample of the optimized fake-quant graph."""
        return self.optimized.run({name: aligned_copy(array) for name, array in feeds.items()})


class _Tally:
    """What was seen of one layer so far."""

    def __init__(self, pair: _LayerPair) -> None:
        self._pair = pair
        self._read, self._sums = _integers(pair.fake_quant), _integers(pair.deploy)
        self._allowed = 0.0 if pair.bound < EXACT_FLOAT32 else max(1.0, pair.bound * _ROUNDING)
        self._read_count = self._compared = self._different = self._flips = 0
        self._largest = 0.0
        self._moved = False

    def add(self, found: _Found, excused: bool, where: str) -> bool:
        """Count the differences of one sample; True when what follows may differ because of this layer.

        `excused` says that of the layers in front: then integers may be read that differ, but where they are
        equal, so are the sums. BackendError for a difference without excuse.
        """
        (read, sums), (stored, added) = self._read, self._sums
        moved = self._differ(found, read, stored)
        if moved and (not excused or found.exact[read].shape != found.deploy[stored].shape):
            raise BackendError(self._fault(found.exact[read], found.deploy[stored], True, where))
        if self._differ(found, sums, added):
            if not moved and not _largest(found.exact[sums], found.deploy[added]) <= self._allowed:
                raise BackendError(self._fault(found.exact[sums], found.deploy[added], False, where))
            excused = True
        self._moved |= moved
        self._read_count += found.exact[read].size
        return excused

    def add_flips(self, exact: Mapping[str, Array], optimized: Mapping[str, Array]) -> None:
        """Count the integers read in one sample that the optimized session changes."""
        read = self._read[0]
        self._flips += int(np.count_nonzero(exact[read] != optimized[read]))

    def _differ(self, found: _Found, name: str, other: str) -> bool:
        """Compare one value of both graphs and count; True when it differs."""
        expected, got = found.exact[name], found.deploy[other]
        self._compared += expected.size
        if np.array_equal(expected, got):
            return False
        if expected.shape == got.shape:
            self._different += int(np.count_nonzero(expected != got))
        self._largest = max(self._largest, _largest(expected, got))
        return True

    def _fault(self, expected: Array, got: Array, is_read: bool, where: str) -> str:
        layer = self._pair.fake_quant
        what = "reads other integers" if is_read else "adds up other integers"
        cause = "scale or offset of its AscendQuant" if is_read else "its weight, bias or attributes"
        if expected.shape != got.shape:
            how = f"of shape {list(got.shape)}, not {list(expected.shape)}"
        else:
            bad = np.argwhere(expected != got)
            first = tuple(bad[0].tolist())
            how = (
                f"{len(bad)} of {expected.size} differ, the first at {list(first)}: {got[first]:.10g}, not "
                f"{expected[first]:.10g}"
            )
        return (
            f"layer '{layer.name}' ({layer.op}) of the deploy graph {what} than that of the fake-quant graph "
            f"on {where}: {how}; the fault is in {cause}, or in the float ops before it"
        )

    def result(self) -> LayerProof:
        """The layer's part of the proof."""
        layer = self._pair.fake_quant
        return LayerProof(
            layer.name,
            layer.op,
            self._pair.bound,
            self._read_count,
            self._compared,
            self._different,
            self._largest,
            self._flips,
            self._moved,
        )


def _integers(values: LayerValues) -> tuple[str, str]:
    """The names of the integers that a quantized layer reads, and of those it adds up."""
    assert values.integers is not None
    assert values.sums is not None
    return values.integers, values.sums


def _largest(expected: Array, got: Array) -> float:
    """The greatest difference; infinite for another shape or other numbers that are not finite.

    Outputs that are no tensors of numbers are taken for equal.
    """
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return 0.0
    if expected.shape != got.shape:
        return float("inf")
    if expected.dtype == object or np.array_equal(expected, got, equal_nan=expected.dtype.kind in "fc"):
        return 0.0
    difference = np.abs(expected.astype(np.float64) - got.astype(np.float64))
    largest = float(difference.max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")
