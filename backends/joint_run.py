"""Runs a fake-quant graph and its deploy graph as one and says which layers compute the same integers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.backends.joint import Compared, Difference, Joint
from qir.backends.proof_tally import LayerPair, LayerSums
from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.runtime.bounds import EXACT_FLOAT32
from qir.runtime.deploy.lowering import Lowered, LoweredLayer
from qir.runtime.deploy.session import check_overflow
from qir.runtime.deploy.sums import along_channels
from qir.runtime.session import Feeds, Session
from qir.runtime.units import Array

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What one run showed.

    `layers` has None for layers that read integers which differ, or whose sums differ but were not counted.
    `read` are the integers read, by name in the fake-quant graph; `expected` and `found` the outputs of both
    graphs by name in either.
    """

    layers: Sequence[LayerSums | None]
    read: Mapping[str, Array]
    expected: Mapping[str, Array]
    found: Mapping[str, Array]


class JointRun:
    """Both graphs as one, the deploy graph `lowered` to floats; `pairs` are its layers in running order.

    The graph of `lowered` is released. The session is opened and closed with `with`.
    """

    def __init__(self, fake_quant: Graph, lowered: Lowered, pairs: Sequence[LayerPair]) -> None:
        self._layers, self._pairs = lowered.layers, pairs
        for name in (name for each in self._layers for name in each.extremes or ()):
            lowered.graph.add_output(lowered.graph.value(name))
        compared: dict[tuple[str, str], Compared] = {}
        for pair, layer in zip(pairs, self._layers, strict=True):
            compared[pair.read] = Compared(*pair.read, kind=integer_kind(layer))
            count = pair.bound >= EXACT_FLOAT32
            compared[pair.sums] = Compared(pair.sums[0], layer.accumulator, _missing(layer), count)
        joint = Joint(fake_quant, lowered.graph, list(compared.values()))
        self._graph, self._theirs = joint.graph, joint.outputs
        self._ours = tuple(dict.fromkeys(v.name for v in fake_quant.outputs))
        self._scales = {joint.inputs[name]: scale for name, scale in lowered.scales.items()}
        self._differences = dict(zip(compared, joint.differences, strict=True))
        lowered.graph.release()
        self._session: Session | None = None

    def __enter__(self) -> None:
        try:
            self._session = Session(self._graph, threads=1, optimize=False, shared=True)
        except QirError as error:
            _log.info("deploy and fake-quant graph do not load as one: %s", error)

    def __exit__(self, *_: object) -> None:
        self._session = None

    def run(self, feeds: Feeds) -> Seen | None:
        """Both graphs on one set of inputs; None where they do not run as one, say for different shapes.

        QirError, naming the layer, when an accumulator overflows.
        """
        if self._session is None:
            return None
        try:
            results = self._session.run({**feeds, **self._scales})
        except QirError as error:
            _log.info("deploy and fake-quant graph do not run as one: %s", error)
            return None
        found = {name: results[here] for name, here in self._theirs.items()}
        for layer in self._layers:
            check_overflow(layer, found)
        read = {
            name: results[difference.integers]
            for (name, _), difference in self._differences.items()
            if difference.integers is not None
        }
        layers = [self._layer(pair, results) for pair in self._pairs]
        return Seen(layers, read, {name: results[name] for name in self._ours}, found)

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        if self._session is not None:
            self._session.stop()

    def _layer(self, pair: LayerPair, results: Mapping[str, Array]) -> LayerSums | None:
        read, sums = self._differences[pair.read], self._differences[pair.sums]
        counts = _count(read, results), _count(sums, results)
        if counts[0] is None or counts[1] is None or results[read.total] != 0:
            return None
        if results[sums.total] == 0:
            return LayerSums(counts[0], counts[1])
        if sums.counted is None:
            return None
        different, largest = (results[name].item() for name in sums.counted)
        return LayerSums(counts[0], counts[1], different, largest)


def integer_kind(layer: LoweredLayer) -> DType:
    """The smallest type for the integers that a layer reads, their zero point taken away."""
    low, high = layer.layer.quant.centred_range
    for kind in (DType.I8, DType.I16):
        least, greatest = kind.integer_range
        if least <= low and high <= greatest:
            return kind
    return DType.I32


def _missing(layer: LoweredLayer) -> npt.NDArray[np.float64] | None:
    """The part of the bias that the accumulators lack."""
    high = layer.plan.high_bias
    return None if high is None else along_channels(high.astype(np.float64), layer.layer)


def _count(difference: Difference, results: Mapping[str, Array]) -> int | None:
    """How many numbers both values of a pair have; None for different shapes."""
    shape, other = (results[name] for name in difference.shapes)
    return int(np.prod(shape)) if np.array_equal(shape, other) else None
