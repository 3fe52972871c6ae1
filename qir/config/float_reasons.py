"""Why the nodes that are no layers of a target stay in float, one sentence each."""

from __future__ import annotations

import json

from qir.backends.targets import Target
from qir.config.outline import Outline
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_nodes
from qir.passes.insertion.selection import rule_of


def float_reasons(original: Outline, graph: Graph, target: Target) -> dict[str, str]:
    """Node -> reason, for nodes of the model as it came and for those after the exact passes (`graph`)."""
    found: dict[str, str] = {}
    outer = set(graph.nodes)
    for node in walk_nodes(graph):
        reason = _reason(node, target) if node in outer else "it lies in a body of control flow"
        if reason is not None:
            found[node.name] = reason
        for name in json.loads(node.metadata.get("qir.fused", "[]")):
            found[name] = f"it has been folded into layer '{node.name}'"
    kept = {node.name for node in walk_nodes(graph)}
    gone = "it has been folded into constants or into other nodes"
    return {**{name: gone for name in original if name not in kept}, **found}


def _reason(node: Node, target: Target) -> str | None:
    """Why a node is no layer, or None when it is one."""
    rule = rule_of(node, target.rules)
    if rule is not None:
        return rule.refuse(node)
    if node.op in target.rules.notes:
        return target.rules.notes[node.op]
    return f"target '{target.name}' computes {node.op} as the float model does"
