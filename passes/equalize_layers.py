"""Gives the channels between two layers equal ranges of weights: cross-layer equalization.

Between layers W1 and W2 joined by a positively homogeneous f (Relu, LeakyRelu, PRelu, pooling, nothing)

    W2 f(W1 x + b1)  =  (W2 S) f(S^-1 W1 x + S^-1 b1),     S = diag(s),   s[c] = sqrt(r1[c] r2[c]) / r2[c]

with r1[c] the largest magnitude of the weights of output channel c of W1, and r2[c] that of the weights which
input channel c of W2 meets. Both become sqrt(r1 r2), so that no channel's weights vanish in the steps of
another's where one scale serves them all. In a chain a layer belongs to two pairs, a depthwise convolution
with the same channels in both, so sweeps over all pairs are repeated until no factor leaves 1 by more than
`tolerance`. Factors of float16 layers are then rounded to powers of two, which change no bit of the model.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.output_factors import note_output_factors
from qir.ir.quants import is_quant
from qir.ir.weight_passes import note_weight_pass
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.equalization.layer_weights import F64, LAYERS, LayerWeights, weights_of
from qir.passes.equalization.routes import Route, find_route, prepared_division
from qir.passes.equalization.writes import Write, all_of

_SETTLED = 10
"""A graph is left as it is while no factor is further from 1 than so many tolerances."""


@dataclass(frozen=True)
class EqualizeLayers(Pass):
    """Even out the ranges of weights between neighbouring layers, exactly (cross-layer equalization).

    At most `iterations` sweeps, until no factor leaves 1 by more than `tolerance`. Layers named in `skip`
    keep their weights.
    """

    name: ClassVar[str] = "equalize-layers"
    iterations: int = 1000
    tolerance: float = 1e-4
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ConfigError(f"iterations must be at least 1, not {self.iterations}")
        if not 0 < self.tolerance < 0.1:
            raise ConfigError(f"tolerance must be in (0, 0.1), not {self.tolerance}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Equalize all pairs of float layers; PassError behind insert-quant."""
        for name in self.skip:
            graph.node(name)
        refused: dict[Node, str] = {}
        writes = self._writes(graph, refused)
        while writes is None:
            writes = self._writes(graph, refused)
        for node, reason in refused.items():
            context.rewrites.refused(self.name, node.name, reason)
        noted: dict[str, Sequence[float]] = {}
        for node, write in writes:
            noted.update(write())
            context.rewrites.applied(self.name, node.name)
        note_output_factors(graph, noted)
        if writes:
            note_weight_pass(graph, str(self))
        return bool(writes)

    def _writes(self, graph: Graph, refused: dict[Node, str]) -> list[tuple[Node, Write]] | None:
        """What is to be written for each second layer; None when a pair that overflows was refused."""
        pairs = self._pairs(graph, refused)
        if _sweep(pairs) <= self.tolerance * _SETTLED:
            return []
        for _ in range(self.iterations - 1):
            if _sweep(pairs) <= self.tolerance:
                break
        if any(pair.first.is_half for pair in pairs) and not _round_factors(pairs):
            return []
        writes: list[tuple[Node, Write]] = []
        for pair in pairs:
            try:
                writes.append((pair.second.node, pair.prepared()))
            except PassError as error:
                refused[pair.second.node] = str(error)
                return None
        return writes

    def _pairs(self, graph: Graph, refused: dict[Node, str]) -> list[_Pair]:
        """All pairs but those `refused`, to which the others are added with the reason."""
        layers: dict[Node, LayerWeights] = {}
        pairs: list[_Pair] = []
        for node in graph.nodes:
            if node.op not in LAYERS or node.domain or node in refused:
                continue
            found = self._pair(node, layers)
            if isinstance(found, str):
                refused[node] = found
            else:
                pairs.append(found)
        return pairs

    def _pair(self, node: Node, layers: dict[Node, LayerWeights]) -> _Pair | str:
        """The pair whose second layer is `node`, or why there is none."""
        if any(v is not None and v.producer is not None and is_quant(v.producer) for v in node.inputs):
            raise PassError(
                f"layer '{node.name}' is quantized already; run equalize-layers before insert-quant"
            )
        second, value = _held(node, layers), node.inputs[0]
        if isinstance(second, str):
            return second
        assert value is not None
        if not value.has_one_use:
            return f"its input '{value.name}' has other readers"
        route = find_route(value, second.axis, to_layer=True)
        if isinstance(route, str):
            return route
        first = _held(route.source, layers)
        if isinstance(first, str):
            return first
        skipped = next((n.name for n in (route.source, node) if n.name in self.skip), None)
        if skipped is not None:
            return f"'{skipped}' is skipped by the user"
        if (first.axis, first.outputs) != (second.axis, second.inputs):
            return f"the channels of {route.source.op} '{route.source.name}' are not those of its input"
        return _Pair(first, second, route)


@dataclass
class _Pair:
    """Two layers, the way between them, and the factors so far, by which the first is divided."""

    first: LayerWeights
    second: LayerWeights
    route: Route
    factors: F64 = field(init=False)

    def __post_init__(self) -> None:
        self.factors = np.ones(self.first.outputs)

    def equalize(self) -> float:
        """Equalize the two as they are; how far, as a logarithm, the factors are from 1."""
        upper, lower = self.first.output_ranges(), self.second.input_ranges()
        both = (upper > 0) & (lower > 0)  # a channel of zeros has nothing to share
        factors = np.ones_like(upper)
        factors[both] = np.sqrt(upper[both] * lower[both]) / lower[both]
        self.first.scale_outputs(1 / factors)
        self.second.scale_inputs(factors)
        self.factors = self.factors * factors
        return float(np.abs(np.log(factors)).max(initial=0))

    def prepared(self) -> Write:
        """Writes the pair; PassError now when anything overflows."""
        return all_of(
            prepared_division(self.route, self.factors), self.first.prepared(), self.second.prepared()
        )


def _held(node: Node, layers: dict[Node, LayerWeights]) -> LayerWeights | str:
    found = layers.get(node)
    if found is not None:
        return found
    made = weights_of(node)
    if not isinstance(made, str):
        layers[node] = made
    return made


def _sweep(pairs: Sequence[_Pair]) -> float:
    return max((pair.equalize() for pair in pairs), default=0.0)


def _round_factors(pairs: Sequence[_Pair]) -> bool:
    """Make all factors powers of two; False when they all are 1 then."""
    for pair in pairs:
        pair.factors = np.exp2(np.rint(np.log2(pair.factors)))
        pair.first.reset()
        pair.second.reset()
    for pair in pairs:
        pair.first.scale_outputs(1 / pair.factors)
        pair.second.scale_inputs(pair.factors)
    return any((pair.factors != 1).any() for pair in pairs)
