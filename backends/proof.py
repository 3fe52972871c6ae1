"""Proves that a deploy graph computes the integers of its fake-quant graph, by running both on samples.

The deploy graph runs exactly. The fake-quant graph sums the same integers as float32 numbers, with ONNX
Runtime's optimizations off, since these multiply scales into weights and round before they sum. Float32 sums
are exact, whatever their order, when the largest partial sum that weights, bias and input range allow stays
below 2^24: then every integer must be equal, and a single one that is not is a fault of the written graph.
Layers with a larger bound cannot be proven this way: their sums may differ by rounding, which then may move
what follows. All layers must store the same numbers in both graphs, whether or not a sample shows it.

Both graphs run as one, which subtracts integers where they are made: memory is that of a run, of as many at
a time as there are cores. Only integers that differ are fetched afterwards, for the message or the count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from qir.backends.ascend.check.structure import array_of
from qir.backends.joint_run import JointRun, Seen, integer_kind
from qir.backends.optimized import OptimizedReads
from qir.backends.proof_result import OutputDifference, Proof
from qir.backends.proof_tally import Found, LayerNames, LayerPair, Tally, largest_difference
from qir.backends.same_parameters import check_parameters
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.runtime.arena import shrink_shared_arena
from qir.runtime.deploy.layers import WEIGHTED
from qir.runtime.deploy.runner import DeployRunner, lower_for
from qir.runtime.memory import return_freed_memory
from qir.runtime.session import Feeds, Session, aligned_copy
from qir.runtime.units import Array
from qir.runtime.workers import cores, ordered_map

_HELD = 4
"""Samples whose integers are held, one byte each, while one session after the other is open."""
_FETCHED = 8
"""Layers whose differing integers are fetched in one run."""


def prove(fake_quant: Graph, deploy: Graph, samples: Sequence[Feeds]) -> Proof:
    """Run both graphs on one sample or more, the fake-quant graph also optimized, and compare the layers.

    `fake_quant` is of form `ascend`. BackendError names the layer whose integers differ without excuse or
    whose parameters differ, or the output where no layer explains it.
    """
    return Prover(fake_quant, deploy, samples[0]).run(samples)


class Prover:
    """A proof in two steps, for `prove`: both graphs are made one, for inputs like `feeds`, and then run."""

    def __init__(self, fake_quant: Graph, deploy: Graph, feeds: Feeds) -> None:
        names = LayerNames(fake_quant, deploy)
        lowered = lower_for(deploy, feeds, _weight_shapes(fake_quant))
        layers = lowered.layers
        pairs = [names.pair(each.layer.name, each.plan.bound) for each in layers]
        self._fake_quant = fake_quant
        self._kinds = {pair.read[0]: integer_kind(each) for pair, each in zip(pairs, layers, strict=True)}
        self._stored = [each.layer for each in layers]
        self._comparison = _Comparison(fake_quant, deploy, pairs, self._kinds)
        self._joint = JointRun(fake_quant, lowered, pairs)

    def run(self, samples: Sequence[Feeds]) -> Proof:
        """Run and compare; BackendError as from `prove`."""
        comparison = self._comparison
        for start in range(0, len(samples), _HELD):
            given = [_aligned(feeds) for feeds in samples[start : start + _HELD]]
            with ThreadPoolExecutor(1) as beside:
                opening = beside.submit(OptimizedReads, self._fake_quant, self._kinds)
                reads = comparison.run(self._joint, given, start)
                optimized = opening.result()
            return_freed_memory()
            found = ordered_map(optimized.run, given, cores(), optimized.stop)
            for exact, moved in zip(reads, found, strict=True):
                for tally in comparison.tallies:
                    name = tally.pair.read[0]
                    tally.add_flips(exact[name], moved[name])
            del optimized
        shrink_shared_arena()
        return_freed_memory()
        for each in self._stored:
            check_parameters(self._fake_quant, each)
        differences = tuple(OutputDifference(*item) for item in comparison.outputs.items())
        return Proof(len(samples), tuple(tally.result() for tally in comparison.tallies), differences)


def _weight_shapes(fake_quant: Graph) -> dict[str, tuple[int, ...]]:
    """The shapes of the layers' weights by the name of the layer: there they are never packed."""
    weights = {node.name: array_of(node.input(1)) for node in fake_quant.nodes if node.op in WEIGHTED}
    return {name: weight.shape for name, weight in weights.items() if weight is not None}


def _aligned(feeds: Feeds) -> dict[str, Array]:
    return {name: aligned_copy(array) for name, array in feeds.items()}


class _Comparison:
    """What was seen of all layers and outputs so far."""

    def __init__(
        self, fake_quant: Graph, deploy: Graph, pairs: Sequence[LayerPair], kinds: Mapping[str, DType]
    ) -> None:
        self._fake_quant, self._deploy, self._kinds = fake_quant, deploy, kinds
        self.tallies = [Tally(pair) for pair in pairs]
        self.outputs = {v.name: 0.0 for v in deploy.outputs}

    def run(self, joint: JointRun, samples: Sequence[Feeds], start: int) -> list[Mapping[str, Array]]:
        """Compare on some samples, the first of which is number `start`; returns what their layers read."""
        reads: list[Mapping[str, Array]] = []
        with joint:
            runs = ordered_map(joint.run, samples, cores(), joint.stop)
            for i, (feeds, found) in enumerate(zip(samples, runs, strict=True), start):
                seen = found or self._run_apart(feeds)
                self._add(seen, feeds, f"sample {i}")
                reads.append(seen.read)
        return reads

    def _run_apart(self, feeds: Feeds) -> Seen:
        """What can be seen where the graphs do not run as one: nothing of it is compared yet."""
        found = self._fetch(self.tallies, feeds)
        read = {name: found.exact[name].astype(kind.numpy) for name, kind in self._kinds.items()}
        return Seen([None] * len(self.tallies), read, found.exact, found.deploy)

    def _add(self, seen: Seen, feeds: Feeds, where: str) -> None:
        """Count one sample. BackendError for a difference without excuse."""
        layers = list(zip(self.tallies, seen.layers, strict=True))
        doubtful = [tally for tally, sums in layers if sums is None or not tally.accepts(sums)]
        found: dict[Tally, Found] = {}
        excused = False
        for tally, sums in layers:
            if sums is not None and tally.accepts(sums):
                excused |= tally.add_sums(sums)
                continue
            if tally not in found:
                first = doubtful.index(tally)
                group = doubtful[first : first + _FETCHED]
                found = dict.fromkeys(group, self._fetch(group, feeds))
            excused = tally.add(found[tally], excused, where)
        for name, largest in self.outputs.items():
            self.outputs[name] = max(largest, largest_difference(seen.expected[name], seen.found[name]))
            if self.outputs[name] and not excused:
                raise BackendError(_fault_behind(name, self.outputs[name], where))

    def _fetch(self, tallies: Sequence[Tally], feeds: Feeds) -> Found:
        """The integers of some layers in both graphs, and the outputs."""
        values = [names for tally in tallies for names in (tally.pair.read, tally.pair.sums)]
        ours, theirs = (list(dict.fromkeys(names[side] for names in values)) for side in (0, 1))
        deployed = DeployRunner(self._deploy, taps=theirs, threads=1, optimize=False, arena=False)
        found = deployed.run(feeds, [*deployed.outputs, *theirs])
        del deployed
        session = Session(self._fake_quant, taps=ours, threads=1, optimize=False, arena=False)
        return Found(session.run(feeds), found)


def _fault_behind(name: str, largest: float, where: str) -> str:
    return (
        f"output '{name}' of the deploy graph differs from the fake-quant graph by up to {largest:.4g} on "
        f"{where}, though the integers of all layers are equal: an AscendDequant or a float op behind the "
        "last layer is wrong"
    )
