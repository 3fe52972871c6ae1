"""Inserts open quants in front of every operand that the target's rules want quantized.

Nothing is measured here: each quant only says by which spec its value is to be quantized. One value read by
several layers under one spec gets one quant, placed before the first of them. A layer that could be
quantized and is not carries the reason in its metadata under `qir.float`; one that was to have INT4 weights
and has INT8 ones, the reason under `qir.int8_weight`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, PassError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add_candidate, is_quant
from qir.ir.walk import walk_nodes
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.quant_nodes import read_quant
from qir.passes.insertion.tensors import quantize_tensor, wanted_tensors
from qir.passes.left_float import FLOAT, note_bodies, note_float
from qir.passes.rules import OperandRule, OpRule, TargetRules

INT8_WEIGHT = "qir.int8_weight"
"""Metadata key of a layer whose weight was to be INT4 and is INT8: the reason, a sentence."""

QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger", "QGemm", "AscendQuant", "AscendDequant", "AscendAntiQuant",
})  # fmt: skip


@dataclass(frozen=True)
class InsertQuant(Pass):
    """Mark what is to be quantized by the target's rules; leave out layers by name, op type or expression.

    Inputs of layers are stored in `bits`, weights in `weight_bits`. `layers` and `ops` narrow it down to
    some; what is left can be given other precisions by another insert-quant behind. `tensors` are inputs of
    layers that compute in float, as in `pool1:0`, which travel as INT8.
    """

    name: ClassVar[str] = "insert-quant"
    bits: Literal[8, 16] = 8
    weight_bits: Literal[4, 8] = 8
    ops: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()
    skip_regex: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits == 16 and self.weight_bits == 4:
            raise ConfigError(
                "bits=16 does not go with weight-bits=4: no layer has INT16 inputs and INT4 weights; give "
                "each an insert-quant of its own, with layers=… or ops=…"
            )

    def run(self, graph: Graph, context: Context) -> bool:
        """Insert the quants; PassError without rules, ConfigError for a name or type that does not exist."""
        rules = context.rules
        if rules is None:
            raise PassError("insert-quant needs the rules of a target: pass --target (or Context.rules)")
        _check_options(self, graph, rules)
        refuse_quantized_models(graph)
        changed = False
        order = {node: i for i, node in enumerate(graph.nodes)}
        tensors = wanted_tensors(self.tensors, graph, rules)
        for node in order:
            rule = _rule(node, rules)
            if node in tensors and quantize_tensor(graph, node, tensors[node], rules, order):
                context.rewrites.applied("insert-quant/tensor", node.name)
                changed = True
            if rule is None:
                changed |= _note(node, rules)
            elif not any(v is not None and v.producer and is_quant(v.producer) for v in node.inputs):
                changed |= self._treat(graph, node, rule, order, context)
        return note_bodies(graph, rules) or changed

    def _treat(
        self, graph: Graph, node: Node, rule: OpRule, order: Mapping[Node, int], context: Context
    ) -> bool:
        """Quantize a layer, or write down why not; True when the graph changed."""
        reason = self._skipped(node) or rule.refuse(node) or self._too_wide(node, rule)
        if reason is not None:
            context.rewrites.refused(self.name, node.name, reason)
            return note_float(node, reason)
        narrow = self._narrow_weight(node, rule, context)
        for reader, index, operand in _operands(node, rule):
            if reader.input(index) is None:
                continue
            spec = operand.spec(node)
            if operand.role == "activation" and self.bits == 16:
                spec = replace(spec, qtype=DType.I16)
            if operand.role == "weight" and narrow:
                spec = replace(spec, qtype=DType.I4)
            read_quant(graph, reader, index, spec, order)
        node.metadata.pop(FLOAT, None)
        context.rewrites.applied(self.name, node.name)
        return True

    def _too_wide(self, node: Node, rule: OpRule) -> str | None:
        if self.bits == 8:
            return None
        if rule.refuse_int16 is None:
            return f"INT16 was asked for, but there is no INT16 form of {node.op}"
        reason = rule.refuse_int16(node)
        return None if reason is None else f"INT16 was asked for, but {reason}"

    def _narrow_weight(self, node: Node, rule: OpRule, context: Context) -> bool:
        """True when the weight becomes INT4; where it cannot, it becomes INT8 and the node says why."""
        if self.weight_bits == 8 or rule.operand("weight") is None:
            return False
        reason = f"no INT4 form of {node.op}" if rule.refuse_int4 is None else rule.refuse_int4(node)
        if reason is not None:
            node.metadata[INT8_WEIGHT] = reason
            context.rewrites.refused("insert-quant/weight-bits", node.name, reason)
        return reason is None

    def _skipped(self, node: Node) -> str | None:
        if self.ops and node.op not in self.ops:
            return f"only {', '.join(self.ops)} were asked for"
        if self.layers and node.name not in self.layers:
            return f"only layers {', '.join(self.layers)} were asked for"
        if node.name in self.skip or node.op in self.skip_types:
            return "skipped by the user"
        pattern = next((p for p in self.skip_regex if re.search(p, node.name)), None)
        return None if pattern is None else f"skipped by the user's expression '{pattern}'"


def _rule(node: Node, rules: TargetRules) -> OpRule | None:
    return rules.ops.get(node.op) if node.domain in ("", "ai.onnx") else None


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


def refuse_quantized_models(graph: Graph) -> None:
    """PassError when the model already computes with integers."""
    for node in walk_nodes(graph):
        if node.op in QUANTIZED_OPS:
            cure = "quantize the float model from which it was made"
            if node.op in ("QuantizeLinear", "DequantizeLinear"):
                cure = f"`qir convert` takes its scales over (pass import-qdq), or {cure}"
            raise PassError(f"the model is already quantized: node '{node.name}' is a {node.op}; {cure}")


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
    for key in ("skip", "layers"):
        for name in getattr(options, key):
            _check_layer(key, name, layers, rules)


def _check_layer(key: str, name: str, layers: Mapping[str, Node], rules: TargetRules) -> None:
    node = layers.get(name)
    if node is not None and (_rule(node, rules) is not None or node.op in rules.notes):
        return
    if node is not None:
        raise ConfigError(
            f"{key}: layer '{name}' ({node.op}) does not support quantization, so it is float anyway"
        )
    names: list[str] = []
    for other in layers.values():
        if name in json.loads(other.metadata.get("qir.fused", "[]")):
            raise ConfigError(
                f"{key}: '{name}' has been folded into layer '{other.name}'; name that layer instead"
            )
        names += [other.name] if _rule(other, rules) is not None else []
    raise ConfigError(f"{key}: there is no layer '{name}' in the graph{did_you_mean(name, names)}")
