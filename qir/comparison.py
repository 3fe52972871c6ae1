"""Compares two models on data, output by output and layer by layer, integers included."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qir.backends.layer_values import LayerValues, layer_values
from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.output_factors import output_factors
from qir.running import Model, RunSource, open_model
from qir.runtime.compare import OutputComparison, Pair, compare_values
from qir.runtime.data import DataSource, open_data
from qir.runtime.progress import Progress

_FOLDED = ("BatchNormalization", "Mul", "Add", "Sub", "Div")
SAMPLES = 16
"""How many samples are compared unless told otherwise."""


@dataclass(frozen=True)
class LayerComparison:
    """One layer that both models have: its result, and where both compute on integers, these too.

    `integers` is what the layer reads (its zero point taken away), `sums` what it adds up; None where one of
    the models does not show them.
    """

    name: str
    op: str
    result: OutputComparison
    integers: OutputComparison | None = None
    sums: OutputComparison | None = None

    @property
    def mismatches(self) -> int:
        """Integers that differ, read or summed."""
        return sum(item.different for item in (self.integers, self.sums) if item is not None)

    @property
    def is_equal(self) -> bool:
        """True when not one number differs."""
        return not (self.result.different or self.mismatches)


@dataclass(frozen=True)
class Comparison:
    """Outputs and layers in running order; layers that only one of the models has, by name."""

    outputs: tuple[OutputComparison, ...]
    layers: tuple[LayerComparison, ...]
    only_reference: tuple[str, ...]
    only_candidate: tuple[str, ...]

    @property
    def first_difference(self) -> LayerComparison | None:
        """The first layer in which anything differs."""
        return next((layer for layer in self.layers if not layer.is_equal), None)

    @property
    def mismatches(self) -> int:
        """Integers that differ in all layers together."""
        return sum(layer.mismatches for layer in self.layers)


@dataclass(frozen=True)
class Tolerance:
    """What still counts as agreement: of every output, and the number of integers that may differ.

    `max_abs` None stands for: any where `cosine` or `sqnr` is given, otherwise none at all.
    """

    max_abs: float | None = None
    cosine: float | None = None
    sqnr: float | None = None
    mismatches: int = 0

    def violations(self, comparison: Comparison) -> tuple[str, ...]:
        """A sentence for each requirement that is not met; empty when the models agree."""
        return (*self._of_outputs(comparison.outputs), *self._of_integers(comparison))

    def _of_outputs(self, outputs: Sequence[OutputComparison]) -> list[str]:
        bounded = self.max_abs is not None or (self.cosine is None and self.sqnr is None)
        limit = self.max_abs or 0.0
        found = []
        for output in outputs:
            if math.isnan(output.max_abs):
                found.append(f"output '{output.name}' {_why_incomparable(output)}")
                continue
            if bounded and not output.max_abs <= limit:
                found.append(
                    f"output '{output.name}' differs by up to {output.max_abs:.4g}, allowed {limit:g}"
                )
            if self.cosine is not None and not output.cosine >= self.cosine:
                found.append(
                    f"output '{output.name}' has cosine {output.cosine:.6f}, required {self.cosine:g}"
                )
            if self.sqnr is not None and not output.sqnr >= self.sqnr:
                found.append(f"output '{output.name}' has SQNR {output.sqnr:.1f} dB, required {self.sqnr:g}")
        return found

    def _of_integers(self, comparison: Comparison) -> list[str]:
        if comparison.mismatches <= self.mismatches:
            return []
        return [f"{comparison.mismatches} integers differ, allowed {self.mismatches}"]


def compare(
    reference: RunSource,
    candidate: RunSource,
    data: DataSource,
    *,
    samples: int | None = SAMPLES,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two models (float, fake-quant, QDQ, deploy) on the first `samples` of `data` (None: all).

    Layers are paired by the names that they have in the user's model. QirError when inputs or outputs do not
    correspond, or a model does not run.
    """
    a, b = open_model(reference), open_model(candidate)
    check_inputs(a, b)
    opened = open_data(data, a.graph)
    outputs = _output_pairs(a, b)
    layers = pair_layers(a.graph, b.graph)
    pairs = [*outputs, *(pair for layer in layers for pair in layer.pairs)]
    first = a.runner(list(dict.fromkeys(pair.reference for pair in pairs)))
    second = b.runner(list(dict.fromkeys(pair.candidate for pair in pairs)))
    units = itertools.islice(opened.units(lambda feeds: first.run(feeds, first.outputs)), samples)
    bounds = [bound for bound in (samples, opened.total) if bound is not None]
    found = compare_values(first, second, pairs, units, total=min(bounds, default=None), progress=progress)
    measured = dict(zip(pairs, found, strict=True))
    names = [set(layer_values(model.graph)) for model in (a, b)]
    return Comparison(
        tuple(item for pair in outputs if (item := measured[pair]) is not None),
        tuple(made for layer in layers if (made := layer.measured(measured)) is not None),
        tuple(n for n in layer_values(a.graph) if n not in names[1]),
        tuple(n for n in layer_values(b.graph) if n not in names[0]),
    )


def check_inputs(a: Model, b: Model) -> None:
    """ConfigError unless the models take the same inputs."""
    for name in b.inputs:
        if name not in a.inputs:
            raise ConfigError(
                f"the models have different inputs: '{b.title}' takes '{name}', '{a.title}' takes "
                f"{', '.join(a.inputs)}{did_you_mean(name, a.inputs)}"
            )
    missing = [name for name in a.inputs if name not in b.inputs]
    if missing:
        raise ConfigError(f"the models have different inputs: '{b.title}' has no input '{missing[0]}'")


def _output_pairs(a: Model, b: Model) -> list[Pair]:
    """Outputs of the same name, or where names differ, in the same place."""
    if len(a.outputs) != len(b.outputs):
        raise ConfigError(
            f"the models cannot be compared: '{a.title}' has {len(a.outputs)} outputs "
            f"({', '.join(a.outputs)}), '{b.title}' {len(b.outputs)} ({', '.join(b.outputs)})"
        )
    if set(a.outputs) == set(b.outputs):
        return [Pair(name, name) for name in a.outputs]
    return [Pair(x, y) for x, y in zip(a.outputs, b.outputs, strict=True)]


@dataclass(frozen=True)
class _LayerPairs:
    """The pairs of values to compare for one layer."""

    name: str
    op: str
    result: Pair
    integers: Pair | None
    sums: Pair | None

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in (self.result, self.integers, self.sums) if pair is not None)

    def measured(self, found: dict[Pair, OutputComparison | None]) -> LayerComparison | None:
        result = found[self.result]
        if result is None:
            return None
        integers = None if self.integers is None else found[self.integers]
        return LayerComparison(
            self.name, self.op, result, integers, None if self.sums is None else found[self.sums]
        )


def pair_layers(a: Graph, b: Graph) -> list[_LayerPairs]:
    """The layers that both graphs have, in the running order of `a`."""
    others = layer_values(b)
    mine, theirs = output_factors(a), output_factors(b)
    found = []
    for name, layer in layer_values(a).items():
        other = others.get(name)
        if other is None:
            continue
        integers = sums = None
        if layer.integers is not None and other.integers is not None:
            integers = Pair(layer.integers, other.integers, other.offset - layer.offset)
        if layer.sums is not None and other.sums is not None:
            sums = Pair(layer.sums, other.sums)
        result = _rescaled(
            _results(a, layer, b, other),
            _channel_axis(a.node(name)),
            mine.get(name, ()),
            theirs.get(name, ()),
        )
        found.append(_LayerPairs(name, layer.op, result, integers, sums))
    return found


def _channel_axis(node: Node) -> int:
    """Where the output of a node has the channels that equalization divides: as that of the layer above."""
    while node.op not in ("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"):
        made = [v.producer for v in node.inputs if v is not None and v.producer is not None]
        if node.op in ("Gemm", "MatMul", "LayerNormalization") or not made:
            return -1
        node = made[0]
    return 1


def _rescaled(pair: Pair, axis: int, mine: Sequence[float], theirs: Sequence[float]) -> Pair:
    """The pair with the factors that equalization has divided one of the results by."""
    if mine == theirs:
        return pair
    factors = np.array(theirs or 1.0) / np.array(mine or 1.0)
    return pair._replace(factors=tuple(factors.tolist()), axis=axis)


def _results(a: Graph, layer: LayerValues, b: Graph, other: LayerValues) -> Pair:
    """The results of a layer; where one of them is float, with what was folded into the other."""
    if layer.is_quantized == other.is_quantized:
        return Pair(layer.result, other.result)
    if layer.is_quantized:
        return Pair(layer.result, _float_result(b, layer, a))
    return Pair(_float_result(a, other, b), other.result)


def _float_result(graph: Graph, layer: LayerValues, quantized: Graph) -> str:
    """What a float graph calls the result of a quantized layer, with what was folded into that layer.

    That is the value of the same name. In a graph whose names were changed it is what the nodes make of it
    that have vanished from the other.
    """
    if graph.has_value(layer.float_name):
        return layer.float_name
    value = graph.node(layer.name).output
    behind = {use.node.op for use in quantized.value(layer.result).uses}
    while value.has_one_use:
        reader = value.uses[0].node
        if reader.op not in _FOLDED or reader.op in behind:
            break
        value = reader.output
    return value.name


def _why_incomparable(output: OutputComparison) -> str:
    if output.other_shape:
        return (
            "has another shape in the other model for some samples, so that its elements have no counterpart"
        )
    return "is NaN in places, in one of the models or in both"
