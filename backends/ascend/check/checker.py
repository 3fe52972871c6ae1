"""Runs all rules over a deploy graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qir.backends.ascend.check import attributes, forms, islands, model, numbers, operands
from qir.backends.ascend.check.finding import SEVERITIES, Finding
from qir.backends.ascend.check.structure import ASCEND_OPS, DeployGraph, read_deploy_graph
from qir.ir.graph import Graph

Rule = Callable[[DeployGraph], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    model.opset_range,
    model.op_domains,
    model.dynamic_inputs,
    model.channel_layout,
    attributes.attribute_types,
    attributes.attribute_values,
    attributes.scale_range,
    forms.layer_forms,
    forms.quant_readers,
    forms.dequants,
    operands.weights,
    operands.biases,
    operands.dequant_params,
    numbers.accumulator_overflow,
    islands.float_islands,
)
"""One rule, one small function: a deploy graph's structure in, findings out."""


def check(graph: Graph) -> tuple[Finding, ...]:
    """What ATC would refuse, and what it would compile to something else than meant; errors first."""
    deploy = read_deploy_graph(graph)
    found = [finding for rule in RULES for finding in rule(deploy)]
    if not any(node.op in ASCEND_OPS for node in deploy.nodes):
        sentence = "the graph has no Ascend op: it is no deploy graph"
        cure = "give the file PREFIX_deploy_model.onnx that `qir quantize` wrote"
        found.append(Finding("error", "structure", "", sentence, cure))
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
