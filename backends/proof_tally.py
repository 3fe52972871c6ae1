"""Counts, layer by layer, what a proof finds: integers that are equal, that may differ, that must not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qir.backends.layer_values import LayerValues, layer_values
from qir.backends.proof_result import LayerProof
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.runtime.bounds import EXACT_FLOAT32
from qir.runtime.units import Array, numbers_of

_ROUNDING = 2.0**-22
"""What float32 sums of integers may be off, as a part of the bound; 1 at least."""


@dataclass(frozen=True)
class LayerPair:
    """A layer and its values in both graphs; `bound` is the largest magnitude of a partial sum."""

    fake_quant: LayerValues
    deploy: LayerValues
    bound: int

    @property
    def read(self) -> tuple[str, str]:
        """The names of the integers that the layer reads, in either graph."""
        return _integers(self.fake_quant)[0], _integers(self.deploy)[0]

    @property
    def sums(self) -> tuple[str, str]:
        """The names of the integers that it adds up."""
        return _integers(self.fake_quant)[1], _integers(self.deploy)[1]


class LayerNames:
    """The quantized layers of both graphs; BackendError when only the deploy graph quantizes one."""

    def __init__(self, fake_quant: Graph, deploy: Graph) -> None:
        self._ours, self._theirs = (
            {name: values for name, values in layer_values(graph).items() if values.is_quantized}
            for graph in (fake_quant, deploy)
        )
        alone = next((name for name in self._theirs if name not in self._ours), None)
        if alone is not None:
            raise BackendError(f"layer '{alone}' is quantized in the deploy graph only")

    def pair(self, layer: str, bound: int) -> LayerPair:
        """The layer of that name in both."""
        return LayerPair(self._ours[layer], self._theirs[layer], bound)


@dataclass(frozen=True)
class Found:
    """Values of one sample by name: of the fake-quant graph as written, and of the deploy graph."""

    exact: Mapping[str, Array]
    deploy: Mapping[str, Array]


class LayerSums(NamedTuple):
    """How many integers a layer read, all equal, and added up; how many sums differ, and how far."""

    read: int
    sums: int
    different: int = 0
    largest: float = 0.0


class Tally:
    """What was seen of one layer so far."""

    def __init__(self, pair: LayerPair) -> None:
        self.pair = pair
        self._allowed = 0.0 if pair.bound < EXACT_FLOAT32 else max(1.0, pair.bound * _ROUNDING)
        self._read_count = self._compared = self._different = self._flips = 0
        self._largest = 0.0
        self._moved = False

    def accepts(self, seen: LayerSums) -> bool:
        """True when the sums of a layer differ by rounding at most."""
        return not seen.different or seen.largest <= self._allowed

    def add_sums(self, seen: LayerSums) -> bool:
        """Count one sample that `accepts` takes; True when what follows may differ because of this layer."""
        self._read_count += seen.read
        self._compared += seen.read + seen.sums
        self._different += seen.different
        self._largest = max(self._largest, seen.largest)
        return seen.different > 0

    def add(self, found: Found, excused: bool, where: str) -> bool:
        """Count the differences of one sample; True when what follows may differ because of this layer.

        `excused` says that of the layers in front: then integers may be read that differ, but where they are
        equal, so are the sums. BackendError for a difference without excuse.
        """
        (read, stored), (sums, added) = self.pair.read, self.pair.sums
        moved = self._differ(found, read, stored)
        if moved and (not excused or found.exact[read].shape != found.deploy[stored].shape):
            raise BackendError(self._fault(found.exact[read], found.deploy[stored], True, where))
        if self._differ(found, sums, added):
            if not moved and not largest_difference(found.exact[sums], found.deploy[added]) <= self._allowed:
                raise BackendError(self._fault(found.exact[sums], found.deploy[added], False, where))
            excused = True
        self._moved |= moved
        self._read_count += found.exact[read].size
        return excused

    def add_flips(self, exact: Array, optimized: Array) -> None:
        """Count the integers read in one sample that the optimized session changes."""
        self._flips += int(np.count_nonzero(exact != optimized))

    def _differ(self, found: Found, name: str, other: str) -> bool:
        """Compare one value of both graphs and count; True when it differs."""
        expected, got = found.exact[name], found.deploy[other]
        self._compared += expected.size
        if np.array_equal(expected, got):
            return False
        if expected.shape == got.shape:
            self._different += int(np.count_nonzero(expected != got))
        self._largest = max(self._largest, largest_difference(expected, got))
        return True

    def _fault(self, expected: Array, got: Array, is_read: bool, where: str) -> str:
        layer = self.pair.fake_quant
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
        layer = self.pair.fake_quant
        return LayerProof(
            layer.name,
            layer.op,
            self.pair.bound,
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


def largest_difference(expected: Array, got: Array) -> float:
    """The greatest difference; infinite for another shape, other words or numbers that are not finite.

    Sequences and maps count as the numbers that they hold; those of words are taken for equal.
    """
    numbers, others = numbers_of(expected), numbers_of(got)
    if numbers is None or others is None:
        words = isinstance(expected, np.ndarray) and isinstance(got, np.ndarray)
        return float("inf") if words and not np.array_equal(expected, got) else 0.0
    expected, got = numbers, others
    if expected.shape != got.shape:
        return float("inf")
    if np.array_equal(expected, got, equal_nan=expected.dtype.kind in "fc"):
        return 0.0
    difference = np.abs(expected.astype(np.float64) - got.astype(np.float64))
    largest = float(difference.max(initial=0.0))
    return largest if np.isfinite(largest) else float("inf")
