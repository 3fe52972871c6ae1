"""Layers that stay in float: the metadata that says why, and taking quants off again."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add, erase_quant, is_quant, layers_reading, unquantized
from qir.ir.walk import walk_nodes
from qir.passes.rules import TargetRules

FLOAT = "qir.float"
"""Metadata key of a quantizable layer that stays in float: the reason, a sentence."""


def note_float(layer: Node, reason: str) -> bool:
    """Write down why `layer` stays in float; True when that is news."""
    changed = layer.metadata.get(FLOAT) != reason
    layer.metadata[FLOAT] = reason
    return changed


def leave_in_float(layer: Node, reason: str) -> None:
    """Let a layer that was to be quantized read floats, the Add of a MatMul's bias included.

    For the second quant of error compensation that is what happens to all of its readers.
    """
    if is_quant(layer):
        for each in layers_reading(layer):
            leave_in_float(each, reason)
        return
    for reader in (layer, bias_add(layer)):
        for i, value in enumerate(() if reader is None else reader.inputs):
            if reader is None or value is None or value.producer is None or not is_quant(value.producer):
                continue
            reader.set_input(i, unquantized(value))
            erase_quant(value)
    note_float(layer, reason)


def note_bodies(graph: Graph, rules: TargetRules) -> bool:
    """Layers in the bodies of If, Loop and Scan stay float; say so at each. True when that is news."""
    changed = False
    for outer in graph.nodes:
        for body in outer.subgraphs:
            for node in walk_nodes(body):
                if node.op in rules.ops and node.domain in ("", "ai.onnx"):
                    reason = f"it is in a body of {outer.op} '{outer.name}', which runs in float"
                    changed |= note_float(node, reason)
    return changed
