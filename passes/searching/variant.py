"""A graph whose quants are open, with its statistics, from which it is closed in one way after another."""

from __future__ import annotations

from dataclasses import replace

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import coarse_quant, layers_reading
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.activation_scales import activation_params, close_activation, never_filled, too_small
from qir.passes.activation_scales import too_large as activation_too_large
from qir.passes.context import Context
from qir.passes.equalization.inputs import InputEqualization
from qir.passes.float_graph import float_graph
from qir.passes.insertion.selection import rule_of
from qir.passes.left_float import leave_in_float
from qir.passes.measurement import open_activation_quants, statistics_for
from qir.passes.searching.adoption import adopt_constants, is_open
from qir.passes.searching.candidates import WEIGHTS, Candidate
from qir.passes.weight_scales import open_weight_spec, quant_source, weight_params
from qir.passes.weight_scales import too_large as weight_too_large
from qir.runtime.calibration import MinMax
from qir.runtime.scales import NO_SCALE, unusable_range


class Variant:
    """A graph that stays open, and what closes it. One run over the data (or none) serves all candidates."""

    def __init__(self, graph: Graph, context: Context) -> None:
        """PassError without statistics or data; layers that no method has a scale for go back to float."""
        self.graph, self._context = graph, context
        self._weights: dict[tuple[str, str], QuantParams | None] = {}
        self.statistics = statistics_for(graph, context, open_activation_quants(graph), "float")
        self._leave_hopeless()

    def closed(self, candidate: Candidate) -> Graph | str:
        """A copy closed by a candidate, biases excepted; or why it cannot close a quant."""
        copy = self.graph.clone()
        for node in copy.nodes:
            spec = open_weight_spec(node)
            if spec is not None:
                params = self._weight(node, spec, candidate.weights)
                if params is None:
                    return _lost_weight(node)
                node.output.type = node.output.tensor.with_quant(params)
        for node in open_activation_quants(copy):
            statistics = self.statistics[quant_source(node).name]
            params = activation_params(node, self.spec(node, candidate), statistics, candidate.method)
            reason = too_small(quant_source(node), params, statistics)
            if reason is not None:
                return reason
            close_activation(node, params, statistics)
        return copy

    def _weight(self, node: Node, spec: QuantSpec, method: str) -> QuantParams | None:
        """The scales of a weight by a method, chosen once; None when it is too small for any."""
        key = node.output.name, method
        if key not in self._weights:
            self._weights[key] = weight_params(node, spec, WEIGHTS[method])
        return self._weights[key]

    def spec(self, node: Node, candidate: Candidate) -> QuantSpec:
        """How a candidate wants an open activation to be quantized."""
        spec = node.output.tensor.quant
        assert isinstance(spec, QuantSpec)
        if candidate.asymmetric is None or spec.qtype.is_float or coarse_quant(node) is not None:
            return spec
        return replace(spec, symmetric=not (candidate.asymmetric and self._may_be_asymmetric(node)))

    def _may_be_asymmetric(self, quant: Node) -> bool:
        """True when the target has a zero point for all readers."""
        for reader in layers_reading(quant):
            rule = None if self._context.rules is None else rule_of(reader, self._context.rules)
            operand = None if rule is None else rule.operand("activation")
            if operand is None or operand.spec(reader).symmetric:
                return False
        return True

    def _leave_hopeless(self) -> None:
        """Let layers read floats whose input or weight no method has a scale for."""
        probe = self.graph.clone()
        for node in probe.nodes:
            reason = self._hopeless(node) if is_open(node) and coarse_quant(node) is None else None
            if reason is None or not self.graph.has_node(node.name):
                continue
            for layer in layers_reading(self.graph.node(node.name)):
                leave_in_float(layer, reason)
                self._context.rewrites.refused("search-method", layer.name, reason)

    def _hopeless(self, node: Node) -> str | None:
        spec, source = node.output.tensor.quant, quant_source(node)
        assert isinstance(spec, QuantSpec)
        if source.constant is not None:
            reason = weight_too_large(node, spec)
            return reason or (None if self._weight(node, spec, "arq") else _lost_weight(node))
        statistics = self.statistics[source.name]
        if statistics.count == 0:
            return never_filled(source)
        if spec.qtype.is_float:
            return activation_too_large(source, spec, statistics)
        unusable = unusable_range(statistics.minimum, statistics.maximum)
        if unusable is not None:
            return f"its input '{source.name}' {unusable}"
        return too_small(source, activation_params(node, spec, statistics, MinMax()), statistics)


def equalized(graph: Graph, context: Context) -> Graph:
    """A copy of a graph with open quants whose inputs have been equalized (`equalize-inputs`)."""
    copy, floats = graph.clone(), float_graph(graph)
    InputEqualization().apply(floats, context)
    adopt_constants(copy, floats)
    return copy


def _lost_weight(node: Node) -> str:
    return f"its weights '{quant_source(node).name}' are too small: {NO_SCALE}"
