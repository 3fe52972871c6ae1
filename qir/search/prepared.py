"""A float model with every layer quantized, and the graphs of its configurations.

The exact passes and calibration run once. A configuration that only sends layers back to float is a copy of
the completely quantized graph in which these layers read floats again: weights and statistics are shared. One
with wider integers runs the pipeline again from insert-quant on, with the statistics of the first run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from qir.config.grants import meaning
from qir.config.layers import Layer
from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.quants import OperandPrecision, operand_precision, quantized_layers
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.half_layers import store_in_float16
from qir.passes.insert_quant import InsertQuant
from qir.passes.insertion.selection import rule_of
from qir.passes.left_float import leave_in_float
from qir.passes.manager import PassManager
from qir.search.configurations import Configuration

IntegerRung: TypeAlias = Literal["int16", "int16-ec"]
INTEGER_RUNGS: tuple[IntegerRung, ...] = get_args(IntegerRung)
REASON = "left in float by the search, to keep the accuracy"


@dataclass(frozen=True)
class Prepared:
    """A float model, made ready: `exact` after the exact passes, `closed` with every layer quantized.

    `passes` lead from the one to the other in `context`. Its configurations know the rungs `int16`,
    `int16-ec`, `float16` and `float32`.
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

    def graph(self, configuration: Configuration) -> Graph:
        """The closed graph of a configuration. A layer that cannot be what it says computes in float32."""
        wide = {r: tuple(n for n, own in configuration.items() if own == r) for r in INTEGER_RUNGS}
        graph = self._widened(wide) if any(wide.values()) else self.closed.clone()
        for name, rung in configuration.items():
            layer = graph.node(name)
            if rung in wide and _reads_int16(operand_precision(layer, 0)):
                continue
            leave_in_float(layer, REASON)
            if rung == "float16":
                store_in_float16(graph, layer)
        return graph

    def takes(self, rung: IntegerRung) -> frozenset[str]:
        """The layers of which the target has a form in that precision."""
        rules = self.context.rules
        found = []
        if rules is None or not any(isinstance(item, InsertQuant) for item in self.passes):
            return frozenset()  # the model came quantized
        for node in self.exact.nodes:
            rule = rule_of(node, rules)
            if rule is not None and rule.refuse(node) is None and _has_form(Layer(node, rule), rung):
                found.append(node.name)
        return frozenset(found) & frozenset(self.layers)

    def _widened(self, layers: Mapping[IntegerRung, tuple[str, ...]]) -> Graph:
        """The pipeline's result with wider integers at some layers, where the target has that."""
        place = next(i for i, item in enumerate(self.passes) if isinstance(item, InsertQuant))
        base = self.passes[place]
        assert isinstance(base, InsertQuant)
        plain = replace(base, operands=(), weight_bits=8, ops=(), regex=(), tensors=(), symmetric_tensors=())
        wide = [replace(plain, precision=rung, layers=names) for rung, names in layers.items() if names]
        graph = self.exact.clone()
        PassManager((*self.passes[:place], *wide, *self.passes[place:])).run(graph, self.context)
        return graph


def _has_form(layer: Layer, rung: IntegerRung) -> bool:
    refuse = layer.rule.refuse_precision
    wanted = ((o, meaning(layer, o, rung)) for o in layer.operands)
    return all(refuse(layer.node, o.role, stored) is None for o, stored in wanted)


def _reads_int16(precision: OperandPrecision | None) -> bool:
    return precision is not None and precision.qtype is DType.I16


def prepare(exact: Graph, passes: Sequence[Pass], context: Context) -> Prepared:
    """Quantize a copy of a model after its exact passes by the rest of a pipeline.

    PassError when nothing was quantized.
    """
    closed = exact.clone()
    PassManager(passes).run(closed, context)
    return Prepared(exact, closed, tuple(passes), context)
