"""Inserts open quants in front of every operand that the target's rules want quantized.

Nothing is measured here: each quant only says by which spec its value is to be quantized. One value read by
several layers under one spec gets one quant, placed before the first of them. A layer that could be
quantized and is not carries the reason in its metadata under `qir.float`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, PassError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add_candidate, find_quant, is_quant
from qir.ir.walk import walk_nodes
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.left_float import FLOAT, note_float
from qir.passes.rules import OperandRule, OpRule, TargetRules

QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger", "QGemm", "AscendQuant", "AscendDequant", "AscendAntiQuant",
})  # fmt: skip


@dataclass(frozen=True)
class InsertQuant(Pass):
    """Mark what is to be quantized by the target's rules; leave out layers by name, op type or expression."""

    name: ClassVar[str] = "insert-quant"
    bits: Literal[8, 16] = 8
    ops: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()
    skip_regex: tuple[str, ...] = ()

    def run(self, graph: Graph, context: Context) -> bool:
        """Insert the quants; PassError without rules, ConfigError for a name or type that does not exist."""
        if context.rules is None:
            raise PassError("insert-quant needs the rules of a target: pass --target (or Context.rules)")
        _check_options(self, graph, context.rules)
        refuse_quantized_models(graph)
        changed = False
        order = {node: i for i, node in enumerate(graph.nodes)}
        for node in order:
            rule = _rule(node, context.rules)
            if rule is None:
                changed |= _note(node, context.rules)
                continue
            if any(v is not None and v.producer is not None and is_quant(v.producer) for v in node.inputs):
                continue
            reason = self._skipped(node) or rule.refuse(node)
            if reason is None:
                _quantize(graph, node, rule, self.bits, order)
                node.metadata.pop(FLOAT, None)
                context.rewrites.applied(self.name, node.name)
                changed = True
            else:
                context.rewrites.refused(self.name, node.name, reason)
                changed |= note_float(node, reason)
        return note_bodies(graph, context.rules) or changed

    def _skipped(self, node: Node) -> str | None:
        if self.ops and node.op not in self.ops:
            return f"only {', '.join(self.ops)} were asked for"
        if node.name in self.skip or node.op in self.skip_types:
            return "skipped by the user"
        pattern = next((p for p in self.skip_regex if re.search(p, node.name)), None)
        return None if pattern is None else f"skipped by the user's expression '{pattern}'"


def _rule(node: Node, rules: TargetRules) -> OpRule | None:
    return rules.ops.get(node.op) if node.domain in ("", "ai.onnx") else None


def _quantize(
    graph: Graph, node: Node, rule: OpRule, bits: Literal[8, 16], order: Mapping[Node, int]
) -> None:
    """Let `node` read quants; `order` is the place of each node that was there before this pass began."""
    for reader, index, operand in _operands(node, rule):
        value = reader.input(index)
        if value is None:
            continue
        spec = operand.spec(node)
        if operand.role == "activation" and bits == 16:
            spec = replace(spec, qtype=DType.I16)
        quant = find_quant(value, spec)
        if quant is None or quant.graph is not graph:
            name = graph.unique_value_name(f"{value.name}.q")
            kind = value.tensor.with_quant(spec)
            made = graph.add(
                "quant", [value], domain="qir", name=name, outputs=[name], types=[kind], before=reader
            )
            quant = made.output
        elif quant.producer is not None and order.get(quant.producer, -1) > order[reader]:
            graph.move(quant.producer, reader)
        reader.set_input(index, quant)


def _operands(node: Node, rule: OpRule) -> Iterator[tuple[Node, int, OperandRule]]:
    """Each operand rule with the node that reads it: a MatMul's bias is read by the Add behind it."""
    for operand in rule.operands:
        if node.op != "MatMul" or operand.role != "bias":
            yield node, operand.index, operand
            continue
        add = bias_add_candidate(node)
        if add is not None:
            yield add, operand.index, operand


def _note(node: Node, rules: TargetRules) -> bool:
    return node.op in rules.notes and note_float(node, rules.notes[node.op])


def note_bodies(graph: Graph, rules: TargetRules) -> bool:
    """Layers in the bodies of If, Loop and Scan stay float; say so at each."""
    changed = False
    for outer in graph.nodes:
        for body in outer.subgraphs:
            for node in walk_nodes(body):
                if _rule(node, rules) is not None:
                    changed |= note_float(
                        node, f"it is in a body of {outer.op} '{outer.name}', which runs in float"
                    )
    return changed


def refuse_quantized_models(graph: Graph) -> None:
    """PassError when the model already computes with integers."""
    for node in walk_nodes(graph):
        if node.op in QUANTIZED_OPS:
            raise PassError(
                f"the model is already quantized: node '{node.name}' is a {node.op}; "
                "quantize the float model from which it was made"
            )


def _check_options(options: InsertQuant, graph: Graph, rules: TargetRules) -> None:
    for key in ("ops", "skip_types"):
        for op in getattr(options, key):
            if op not in rules.ops:
                raise ConfigError(
                    f"{key}: target '{rules.name}' does not quantize '{op}', only {', '.join(rules.ops)}"
                    + did_you_mean(op, rules.ops)
                )
    for pattern in options.skip_regex:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"skip_regex: '{pattern}' is not a regular expression: {error}") from error
    layers = {node.name: node for node in walk_nodes(graph)}
    for name in options.skip:
        _check_layer(name, layers.get(name), layers.values(), rules)


def _check_layer(name: str, node: Node | None, nodes: Iterable[Node], rules: TargetRules) -> None:
    if node is not None and (_rule(node, rules) is not None or node.op in rules.notes):
        return
    if node is not None:
        raise ConfigError(
            f"skip: layer '{name}' ({node.op}) does not support quantization, so it is float anyway"
        )
    names: list[str] = []
    for other in nodes:
        if name in json.loads(other.metadata.get("qir.fused", "[]")):
            raise ConfigError(
                f"skip: '{name}' has been folded into layer '{other.name}'; skip that layer instead"
            )
        names += [other.name] if _rule(other, rules) is not None else []
    raise ConfigError(f"skip: there is no layer '{name}' in the graph{did_you_mean(name, names)}")
