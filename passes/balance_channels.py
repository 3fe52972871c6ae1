"""Moves outliers of single input channels into the weights: AMCT's DMQ balancer, akin to SmoothQuant.

    sum_c x[c] W[c]  =  sum_c (x[c] / f[c]) (W[c] f[c]),     f[c] = max |x[c]|^m / max |W[c]|^(1-m)

with the migration strength m. The result is the same, but the scale of a quantized x no longer has to suit
its widest channel alone; the larger m, the more of it the weight carries. The division stays in the graph as
a Mul in front of the layer, which costs run time. The maxima are those of one run over the calibration data.
Run it before insert-quant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy.typing as npt

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant
from qir.passes.balancing.scaling import (
    BALANCE_FACTOR,
    channel_axis,
    input_channels,
    scale_channels,
    weight_maxima,
)
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.selection import Selection, check_layers, check_ops, check_patterns, rule_of
from qir.passes.rules import TargetRules
from qir.runtime.balance_factors import balance_factors
from qir.runtime.channel_maxima import Channel, collect_channel_maxima


@dataclass(frozen=True)
class BalanceChannels(Pass):
    """Divide inputs of layers by a factor per channel and multiply the weights by it (AMCT's DMQ balancer).

    `strength` (0.2 to 0.8) says how much of a channel's range the weight takes over. `layers`, `ops` and
    `regex` narrow it down to some layers.
    """

    name: ClassVar[str] = "balance-channels"
    strength: float = 0.5
    ops: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0.2 <= self.strength <= 0.8:
            raise ConfigError(f"strength must be in [0.2, 0.8], not {self.strength}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Balance layers that have a constant weight and are not balanced yet.

        PassError without rules or data, or behind insert-quant; CalibrationError for data that do not fit.
        """
        chosen = self._chosen(graph, context)
        if not chosen:
            return False
        if context.data is None:
            raise PassError("balance-channels needs data: pass --data DATA (or Context.data)")
        lengths = {_channel(layer): _length(layer) for layer in chosen}
        maxima = collect_channel_maxima(graph, lengths, context.data, context.progress)
        changed = False
        for layer in chosen:
            factors = balance_factors(
                maxima[_channel(layer)], weight_maxima(layer, _weight(layer)), self.strength
            )
            try:
                scale_channels(graph, layer, factors)
            except PassError as error:
                context.rewrites.refused(self.name, layer.name, str(error))
                continue
            context.rewrites.applied(self.name, layer.name)
            changed = True
        return changed

    def _chosen(self, graph: Graph, context: Context) -> Sequence[Node]:
        rules = context.rules
        if rules is None:
            raise PassError("balance-channels needs the rules of a target: pass --target (or Context.rules)")
        check_ops("ops", self.ops, rules)
        check_layers("layers", self.layers, graph, rules)
        check_patterns("regex", self.regex)
        selection = Selection(self.ops, self.layers, self.regex)
        return [n for n in graph.nodes if selection.missed(n) is None and _is_open(n, rules)]


def _is_open(node: Node, rules: TargetRules) -> bool:
    """True for a float layer whose constant weight can take factors, and has none yet."""
    rule = rule_of(node, rules)
    if rule is None or rule.operand("weight") is None or BALANCE_FACTOR in node.metadata:
        return False
    if any(value is not None and value.producer and is_quant(value.producer) for value in node.inputs):
        raise PassError(f"layer '{node.name}' is quantized already; run balance-channels before insert-quant")
    return rule.refuse(node) is None


def _channel(layer: Node) -> Channel:
    return _source(layer).name, channel_axis(layer)


def _source(layer: Node) -> Value:
    value = layer.inputs[0]
    assert value is not None, "rules refuse layers without data input"
    return value


def _weight(layer: Node) -> npt.NDArray[Any]:
    value = layer.inputs[1]
    assert value is not None, "rules refuse layers without a weight"
    assert value.constant is not None, "rules refuse layers whose weight is computed"
    return value.constant.array


def _length(layer: Node) -> int:
    return input_channels(layer, _weight(layer).shape)
