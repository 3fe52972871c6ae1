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
from dataclasses import dataclass

import numpy as np

from qir.backends.layer_values import LayerValues, layer_values
from qir.backends.proof_result import LayerProof, OutputDifference, Proof
from qir.backends.same_parameters import check_parameters
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.runtime.bounds import EXACT_FLOAT32
from qir.runtime.deploy.layers import IntegerLayer
from qir.runtime.deploy.runner import DeployRunner
from qir.runtime.deploy.session import DeployLayer
from qir.runtime.memory import return_freed_memory
from qir.runtime.session import Feeds, Session, aligned_copy
from qir.runtime.units import Array

_ROUNDING = 2.0**-22
"""What float32 sums of integers may be off, as a part of the bound; 1 at least."""


def prove(fake_quant: Graph, deploy: Graph, samples: Sequence[Feeds]) -> Proof:
    """Run both graphs on one sample or more, the fake-quant graph also optimized, and compare the layers.

    `fake_quant` is of form `ascend`. BackendError names the layer whose integers differ without excuse or
    whose parameters differ, or the output where no layer explains it.
    """
    names = _Names(fake_quant, deploy)
    deployed, layers, stored = _run_deploy(deploy, names, samples)
    tallies = [_Tally(_LayerPair(names.ours[x.name], names.theirs[x.name], x.bound)) for x in layers]
    outputs = {v.name: 0.0 for v in deploy.outputs}
    return_freed_memory()
    reads = _compare(fake_quant, names, samples, deployed, tallies, outputs)
    return_freed_memory()
    optimized = Session(fake_quant, taps=names.read, threads=1, arena=False)
    for feeds, exact in zip(samples, reads, strict=True):
        found = optimized.run(_aligned(feeds))
        for tally in tallies:
            tally.add_flips(exact, found)
    for each in stored:
        check_parameters(fake_quant, each)
    differences = tuple(OutputDifference(name, largest) for name, largest in outputs.items())
    return Proof(len(samples), tuple(tally.result() for tally in tallies), differences)


def _run_deploy(
    deploy: Graph, names: _Names, samples: Sequence[Feeds]
) -> tuple[list[dict[str, Array]], tuple[DeployLayer, ...], tuple[IntegerLayer, ...]]:
    """Outputs and integers of the deploy graph on each sample, its layers, and these as they are stored."""
    runner = DeployRunner(deploy, taps=names.stored, threads=1, optimize=False, arena=False)
    wanted = [*runner.outputs, *names.stored]
    kept = set(runner.outputs)
    deployed = []
    for feeds in samples:
        found = runner.run(_aligned(feeds), wanted)
        deployed.append({n: a if n in kept else _compact(a) for n, a in found.items()})
        del found
        return_freed_memory()
    return deployed, runner.open(samples[0]), runner.parameters(samples[0])


def _compare(
    fake_quant: Graph,
    names: _Names,
    samples: Sequence[Feeds],
    deployed: list[dict[str, Array]],
    tallies: Sequence[_Tally],
    outputs: dict[str, float],
) -> list[dict[str, Array]]:
    """Run the fake-quant graph as written and compare; what its layers read in each sample comes back."""
    session = Session(fake_quant, taps=[*names.read, *names.sums], threads=1, optimize=False, arena=False)
    reads = []
    for i, feeds in enumerate(samples):
        found = _Found(session.run(_aligned(feeds)), deployed[i])
        deployed[i] = {}  # one sample's tensors are what this may hold
        excused = False
        for tally in tallies:
            excused = tally.add(found, excused, f"sample {i}")
        for name, largest in outputs.items():
            outputs[name] = max(largest, _largest(found.exact[name], found.deploy[name]))
            if outputs[name] and not excused:
                raise BackendError(_fault_behind(name, outputs[name], f"sample {i}"))
        reads.append({name: _compact(found.exact[name]) for name in names.read})
    return reads


def _aligned(feeds: Feeds) -> dict[str, Array]:
    return {name: aligned_copy(array) for name, array in feeds.items()}


def _compact(array: Array) -> Array:
    """Whole numbers that came as floats, in the smallest integers that hold them; anything else as it is."""
    largest = float(np.abs(array).max(initial=0.0)) if array.dtype.kind == "f" else np.inf
    if not largest < 2**31 or not np.array_equal(array, np.rint(array)):
        return array
    return array.astype(np.int16 if largest < 2**15 else np.int32)


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


class _Names:
    """The layers of both graphs and the names of their integers."""

    def __init__(self, fake_quant: Graph, deploy: Graph) -> None:
        self.ours, self.theirs = (
            {name: values for name, values in layer_values(graph).items() if values.is_quantized}
            for graph in (fake_quant, deploy)
        )
        alone = next((name for name in self.theirs if name not in self.ours), None)
        if alone is not None:
            raise BackendError(f"layer '{alone}' is quantized in the deploy graph only")
        self.read = list(dict.fromkeys(_integers(values)[0] for values in self.ours.values()))
        self.sums = [_integers(values)[1] for values in self.ours.values()]
        self.stored = list(dict.fromkeys(name for v in self.theirs.values() for name in _integers(v)))


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
