"""A configuration says which layers are not INT8 and what they are instead; here it becomes a graph.

The exact passes and calibration run once. A configuration that only sends layers back to float is a copy of
the completely quantized graph in which these layers read floats again: weights and statistics are shared. One
with INT16 layers runs the pipeline again from insert-quant on, with the statistics of the first run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from qir.config.layers import Layer, exact_passes
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, PassError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.quants import operand_precision, quantized_layers
from qir.ir.types import Quant, spec_of
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.insertion.selection import rule_of
from qir.passes.left_float import leave_in_float
from qir.passes.manager import PassManager
from qir.search.half_layers import compute_in_float16

Rung: TypeAlias = Literal["int16", "float16", "float32"]
Configuration: TypeAlias = Mapping[str, Rung]
"""Layer -> what it is in the place of INT8; layers that are quantized as the pipeline says are not in it."""

REASON = "left in float by the search, to keep the accuracy"


@dataclass(frozen=True)
class Prepared:
    """A float model, made ready: `exact` after the exact passes, `closed` with every layer quantized.

    `passes` lead from the one to the other in `context`.
    """

    exact: Graph
    closed: Graph
    passes: tuple[Pass, ...]
    context: Context
    layers: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(node.name for node in quantized_layers(self.closed)))
        if not self.layers:
            raise PassError(
                "no layer was quantized, so there is nothing to search: see `qir quantize` for the reasons"
            )


def prepare(original: Graph, passes: Sequence[Pass], context: Context) -> Prepared:
    """Run a pipeline on a copy of the model; PassError when nothing was quantized."""
    exact = exact_passes(passes)
    start = original.clone()
    PassManager(exact).run(start, context)
    closed = start.clone()
    rest = tuple(passes[len(exact) :])
    PassManager(rest).run(closed, context)
    return Prepared(start, closed, rest, context)


def configured_graph(prepared: Prepared, configuration: Configuration) -> Graph:
    """The closed graph of a configuration. A layer that cannot be what it says computes in float32."""
    wide = tuple(name for name, rung in configuration.items() if rung == "int16")
    graph = _widened(prepared, wide) if wide else prepared.closed.clone()
    for name, rung in configuration.items():
        layer = graph.node(name)
        if rung == "int16" and _reads_int16(operand_precision(layer, 0)):
            continue
        leave_in_float(layer, REASON)
        if rung == "float16":
            compute_in_float16(graph, layer)
    return graph


def takes_int16(prepared: Prepared) -> frozenset[str]:
    """The layers that the target has an INT16 form of."""
    rules = prepared.context.rules
    found = []
    if rules is None or not any(isinstance(item, InsertQuant) for item in prepared.passes):
        return frozenset()  # the model came quantized
    for node in prepared.exact.nodes:
        rule = rule_of(node, rules)
        if rule is not None and rule.refuse(node) is None and Layer(node, rule).takes_int16:
            found.append(node.name)
    return frozenset(found) & frozenset(prepared.layers)


def _reads_int16(quant: Quant | None) -> bool:
    return quant is not None and spec_of(quant).qtype is DType.I16


def _widened(prepared: Prepared, layers: tuple[str, ...]) -> Graph:
    """The pipeline's result with INT16 inputs at `layers` where the target has that."""
    place = next(i for i, item in enumerate(prepared.passes) if isinstance(item, InsertQuant))
    base = prepared.passes[place]
    assert isinstance(base, InsertQuant)
    wide = replace(
        base, bits=16, weight_bits=8, layers=layers, ops=(), regex=(), tensors=(), symmetric_tensors=()
    )
    graph = prepared.exact.clone()
    passes = (*prepared.passes[:place], wide, *prepared.passes[place:])
    PassManager(passes).run(graph, prepared.context)
    return graph


def check_fallback(fallback: Sequence[str]) -> tuple[Rung, ...]:
    """The ladder that rolled back layers climb; ConfigError for an unknown rung or a wrong order."""
    known: tuple[Rung, ...] = get_args(Rung)
    found: list[Rung] = []
    for name in fallback:
        rung = next((rung for rung in known if rung == name), None)
        if rung is None:
            raise ConfigError(
                f"there is no fallback '{name}'; known: {', '.join(known)}{did_you_mean(name, known)}"
            )
        found.append(rung)
    if not found or [known.index(rung) for rung in found] != sorted({known.index(rung) for rung in found}):
        raise ConfigError(f"a fallback ladder goes up in this order, each rung once: {', '.join(known)}")
    return tuple(found)


def lowered(configuration: Configuration) -> dict[str, list[str]]:
    """Rung -> its layers, sorted: a configuration as it stands in a journal."""
    rungs: tuple[Rung, ...] = get_args(Rung)
    found = {rung: sorted(n for n, own in configuration.items() if own == rung) for rung in rungs}
    return {rung: names for rung, names in found.items() if names}
