"""A float model with every layer quantized, and the graphs of its configurations.

The exact passes and calibration run once. A configuration that only sends layers back to float is a copy of
the completely quantized graph in which these layers read floats again: weights and statistics are shared. One
with INT16 layers runs the pipeline again from insert-quant on, with the statistics of the first run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from qir.config.layers import Layer
from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.quants import operand_precision, quantized_layers
from qir.ir.types import Quant, spec_of
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.insertion.selection import rule_of
from qir.passes.left_float import leave_in_float
from qir.passes.manager import PassManager
from qir.search.configurations import Configuration
from qir.search.half_layers import compute_in_float16

REASON = "left in float by the search, to keep the accuracy"


@dataclass(frozen=True)
class Prepared:
    """A float model, made ready: `exact` after the exact passes, `closed` with every layer quantized.

    `passes` lead from the one to the other in `context`. Its configurations know the rungs `int16`, `float16`
    and `float32`.
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
        wide = tuple(name for name, rung in configuration.items() if rung == "int16")
        graph = self._widened(wide) if wide else self.closed.clone()
        for name, rung in configuration.items():
            layer = graph.node(name)
            if rung == "int16" and _reads_int16(operand_precision(layer, 0)):
                continue
            leave_in_float(layer, REASON)
            if rung == "float16":
                compute_in_float16(graph, layer)
        return graph

    def takes_int16(self) -> frozenset[str]:
        """The layers that the target has an INT16 form of."""
        rules = self.context.rules
        found = []
        if rules is None or not any(isinstance(item, InsertQuant) for item in self.passes):
            return frozenset()  # the model came quantized
        for node in self.exact.nodes:
            rule = rule_of(node, rules)
            if rule is not None and rule.refuse(node) is None and Layer(node, rule).takes_int16:
                found.append(node.name)
        return frozenset(found) & frozenset(self.layers)

    def _widened(self, layers: tuple[str, ...]) -> Graph:
        """The pipeline's result with INT16 inputs at `layers` where the target has that."""
        place = next(i for i, item in enumerate(self.passes) if isinstance(item, InsertQuant))
        base = self.passes[place]
        assert isinstance(base, InsertQuant)
        wide = replace(
            base, bits=16, weight_bits=8, layers=layers, ops=(), regex=(), tensors=(), symmetric_tensors=()
        )
        graph = self.exact.clone()
        PassManager((*self.passes[:place], wide, *self.passes[place:])).run(graph, self.context)
        return graph


def _reads_int16(quant: Quant | None) -> bool:
    return quant is not None and spec_of(quant).qtype is DType.I16


def prepare(exact: Graph, passes: Sequence[Pass], context: Context) -> Prepared:
    """Quantize a copy of a model after its exact passes by the rest of a pipeline.

    PassError when nothing was quantized.
    """
    closed = exact.clone()
    PassManager(passes).run(closed, context)
    return Prepared(exact, closed, tuple(passes), context)
