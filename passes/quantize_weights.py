"""Closes the quants of weights: scales per channel (or per tensor), chosen from the weight itself.

For every open quant that reads a floating-point constant, by one of these methods:

    arq   bound = max |w| of the channel, scale = bound / qmax, or bound / -qmin where the largest magnitude
          is negative; an all-zero channel gets scale 1. Source: AMCT's arq_quantize
    mse   the least squared error of the rounded weights, never above that of arq
    kl    the least divergence of the clipped histogram. Source: the weight scale of AMCT's AdaRound

Weights with error compensation are closed by their ranges, those to be cast to float16 without a scale.

`start`, `end` and `step` are options of mse, `candidates` of kl, see `qir.runtime.weights`. `ops`, `layers`
and `regex` narrow it down to the weights of some layers; another quantize-weights behind closes the others.
Biases are int32 and wait for `quantize-bias`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar, Literal

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_coarse, layers_reading
from qir.ir.types import QuantSpec
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.selection import Selection, check_layers, check_ops, check_patterns
from qir.passes.left_float import leave_in_float
from qir.passes.selected_quants import selected_quant
from qir.passes.weight_scales import open_weight_spec, quant_source, too_large, weight_params, with_coarse
from qir.runtime.scales import NO_SCALE
from qir.runtime.weights import Arq, Kl, Mse, WeightMethod

_METHODS: Mapping[str, type[Arq | Mse | Kl]] = MappingProxyType({"arq": Arq, "mse": Mse, "kl": Kl})


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Choose the scales of weights from the weights themselves, by range (arq), error (mse) or kl."""

    name: ClassVar[str] = "quantize-weights"
    method: Literal["arq", "mse", "kl"] = "arq"
    start: float | None = None
    end: float | None = None
    step: float | None = None
    candidates: int | None = None
    ops: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.weight_method()  # refuses options that the method does not have, and values out of range

    def run(self, graph: Graph, context: Context) -> bool:
        """Close every open weight quant; PassError names a weight that is not finite.

        Layers whose weights are too small for any scale go back to float.
        """
        method, changed = self.weight_method(), False
        selection = self._selection(graph, context)
        for node in graph.nodes:
            spec = None if node.graph is None or is_coarse(node) else open_weight_spec(node)
            quant = None if spec is None else selected_quant(graph, node, selection)
            if quant is None:
                continue
            changed = True
            reason = next(filter(None, (_close(each, method) for each in with_coarse([quant]))), None)
            if reason is None:
                context.rewrites.applied(self.name, quant.name)
                continue
            for layer in layers_reading(quant):
                leave_in_float(layer, reason)
                context.rewrites.refused(self.name, layer.name, reason)
        return changed

    def weight_method(self) -> WeightMethod:
        """The method with its options; ConfigError for one that another method has."""
        kind = _METHODS[self.method]
        own = [field.name for field in fields(kind)]
        options = ("start", "end", "step", "candidates")
        given = {name: getattr(self, name) for name in options if getattr(self, name) is not None}
        foreign = next((name for name in given if name not in own), None)
        if foreign is not None:
            has = f"its options are {', '.join(own)}" if own else "it has no options"
            raise ConfigError(f"{foreign}: method {self.method} has no such option; {has}")
        return kind(**given)

    def _selection(self, graph: Graph, context: Context) -> Selection:
        selection = Selection(self.ops, self.layers, self.regex)
        if self.ops or self.layers:
            if context.rules is None:
                raise PassError(
                    "quantize-weights needs the rules of a target to select layers: pass --target "
                    "(or Context.rules)"
                )
            check_ops("ops", self.ops, context.rules)
            check_layers("layers", self.layers, graph, context.rules)
        check_patterns("regex", self.regex)
        return selection


def _close(quant: Node, method: WeightMethod) -> str | None:
    """Close an open quant; or the reason why its readers must stay in float."""
    spec = quant.output.tensor.quant
    assert isinstance(spec, QuantSpec)
    reason = too_large(quant, spec)
    params = weight_params(quant, spec, method) if reason is None else None
    if params is None:
        return reason or f"its weights '{quant_source(quant).name}' are too small: {NO_SCALE}"
    quant.output.type = quant.output.tensor.with_quant(params)
    return None
