"""Gives the most sensitive layers another precision."""

from __future__ import annotations

from typing import Literal

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import coarse_quant, is_quant
from qir.passes.activation_scales import activation_params, close_activation
from qir.passes.activation_scales import too_large as activation_too_large
from qir.passes.context import Context
from qir.passes.insertion.layers import quantize_layer
from qir.passes.insertion.selection import rule_of
from qir.passes.insertion.specs import Wish
from qir.passes.left_float import FLOAT, leave_in_float
from qir.passes.measurement import open_activation_quants
from qir.passes.searching.candidates import WEIGHTS, Candidate
from qir.passes.searching.variant import Variant
from qir.passes.weight_scales import open_weight_spec, quant_source, weight_params
from qir.passes.weight_scales import too_large as weight_too_large
from qir.runtime.scales import NO_SCALE

Qtype = Literal["int8", "int16", "int16-ec", "dual-int16", "float16", "float32"]
"""What sensitive layers may become."""


def raise_layer(
    graph: Graph, layer: Node, qtype: Qtype, candidate: Candidate, variant: Variant, context: Context
) -> str | None:
    """Give a closed layer another precision, closed by a candidate; the reason why it cannot have it.

    It stays as it is then, or goes back to float where its numbers have no scale in that precision.
    """
    rule = None if context.rules is None else rule_of(layer, context.rules)
    if qtype == "float32":
        leave_in_float(layer, "it is one of the most sensitive layers, which were to be float32")
        return None
    if qtype == "int8":
        return None
    assert context.rules is not None
    wish = Wish(qtype, 8, "auto", "auto")
    reason = "the target has no such layer" if rule is None else wish.refused(layer, rule, context.rules)
    if rule is None or reason is not None:
        context.rewrites.refused("search-method/qtype", layer.name, str(reason))
        return str(reason)
    leave_in_float(layer, "")
    quantize_layer(graph, layer, rule, wish, {node: i for i, node in enumerate(graph.nodes)})
    del layer.metadata[FLOAT]
    reason = _close(graph, layer, candidate, variant)
    if reason is not None:
        context.rewrites.refused("search-method/qtype", layer.name, reason)
        leave_in_float(layer, reason)
    return reason


def _close(graph: Graph, layer: Node, candidate: Candidate, variant: Variant) -> str | None:
    """Close the quants of a layer that are open; the reason why one cannot be."""
    made = [value.producer for value in layer.inputs if value is not None and value.producer is not None]
    read = {*made, *(coarse for node in made if is_quant(node) and (coarse := coarse_quant(node)))}
    for node in open_activation_quants(graph):
        if node not in read:
            continue
        statistics, spec = variant.statistics[quant_source(node).name], variant.spec(node, candidate)
        reason = activation_too_large(quant_source(node), spec, statistics)
        if reason is not None:
            return reason
        params = activation_params(node, spec, statistics, candidate.method)
        close_activation(node, params, statistics)
    for node in graph.nodes:
        open_spec = open_weight_spec(node) if node in read else None
        if open_spec is not None:
            reason = weight_too_large(node, open_spec)
            found = None if reason else weight_params(node, open_spec, WEIGHTS[candidate.weights])
            if found is None:
                return f"its weight {reason or NO_SCALE}"
            node.output.type = node.output.tensor.with_quant(found)
    return None
