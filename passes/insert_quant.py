"""Inserts open quants in front of every operand that the target's rules want quantized.

Nothing is measured here: each quant only says by which spec its value is to be quantized. One value read by
several layers under one spec gets one quant, placed before the first of them. A layer that could be
quantized and is not carries the reason in its metadata under `qir.float`; one that was to have narrower
weights and has INT8 ones, the reason under `qir.int8_weight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add_candidate, is_quant
from qir.ir.walk import walk_nodes
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.quant_nodes import read_quant
from qir.passes.insertion.selection import (
    Selection,
    SkipList,
    check_layers,
    check_ops,
    check_patterns,
    rule_of,
)
from qir.passes.insertion.specs import Choice, Wish, check_weight_bits, narrow_reason
from qir.passes.insertion.tensors import quantize_tensor, wanted_tensors
from qir.passes.left_float import FLOAT, note_bodies, note_float
from qir.passes.rules import OperandRule, OpRule, TargetRules

INT8_WEIGHT = "qir.int8_weight"
"""Metadata key of a layer whose weight was to have fewer bits and is INT8: the reason, a sentence."""

FAKE_DEQUANT = ".fakedequant.mul"
"""What a fake-quant graph calls the node that dequantizes a layer, behind the name of the layer."""
QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger", "QGemm", "AscendQuant", "AscendDequant", "AscendAntiQuant",
})  # fmt: skip


@dataclass(frozen=True)
class InsertQuant(Pass):
    """Mark what is to be quantized by the target's rules; leave out layers by name, op type or expression.

    Inputs of layers are stored in `bits`, weights in `weight_bits`. `asymmetric` says whether inputs have a
    zero point, `per_channel` whether each output channel of a weight has its scale; `auto` is what the
    target's rules say. `layers`, `ops` and `regex` narrow it down to some; what is left can be given other
    precisions by another insert-quant behind. `tensors` are inputs of layers that compute in float, as in
    `pool1:0`, which travel as INT8, and `symmetric_tensors` those that do so without zero point.
    """

    name: ClassVar[str] = "insert-quant"
    bits: Literal[8, 16] = 8
    weight_bits: Literal[4, 5, 6, 7, 8] = 8
    asymmetric: Choice = "auto"
    per_channel: Choice = "auto"
    ops: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    symmetric_tensors: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()
    skip_regex: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bits == 16 and self.weight_bits < 8:
            narrow = self.weight_bits
            raise ConfigError(
                f"bits=16 does not go with weight-bits={narrow}: no layer has INT16 inputs and INT{narrow} "
                "weights; give each an insert-quant of its own, with layers=… or ops=…"
            )

    def run(self, graph: Graph, context: Context) -> bool:
        """Insert the quants; PassError without rules, ConfigError for a name or type that does not exist."""
        rules = context.rules
        if rules is None:
            raise PassError("insert-quant needs the rules of a target: pass --target (or Context.rules)")
        self._check(graph, rules)
        refuse_quantized_models(graph)
        changed = False
        order = {node: i for i, node in enumerate(graph.nodes)}
        tensors = wanted_tensors(self.tensors, self.symmetric_tensors, graph, rules)
        for node in order:
            rule = rule_of(node, rules)
            if node in tensors and quantize_tensor(graph, node, tensors[node], rules, order):
                context.rewrites.applied("insert-quant/tensor", node.name)
                changed = True
            if rule is None:
                changed |= _note(node, rules)
            elif not any(v is not None and v.producer and is_quant(v.producer) for v in node.inputs):
                changed |= self._treat(graph, node, rule, order, context)
        return note_bodies(graph, rules) or changed

    def _check(self, graph: Graph, rules: TargetRules) -> None:
        check_weight_bits(self.weight_bits, rules)
        check_ops("ops", self.ops, rules)
        check_ops("skip_types", self.skip_types, rules)
        check_patterns("regex", self.regex)
        check_patterns("skip_regex", self.skip_regex)
        check_layers("skip", self.skip, graph, rules)
        check_layers("layers", self.layers, graph, rules)

    def _treat(
        self, graph: Graph, node: Node, rule: OpRule, order: Mapping[Node, int], context: Context
    ) -> bool:
        """Quantize a layer, or write down why not; True when the graph changed."""
        wish = Wish(self.bits, self.weight_bits, self.asymmetric, self.per_channel)
        reason = self._left_out(node) or rule.refuse(node) or wish.refused(node, rule)
        if reason is not None:
            context.rewrites.refused(self.name, node.name, reason)
            return note_float(node, reason)
        narrow = self._narrow_weight(node, rule, context)
        for reader, index, operand in _operands(node, rule):
            if reader.input(index) is not None:
                read_quant(graph, reader, index, wish.spec(operand, node, narrow=narrow), order)
        node.metadata.pop(FLOAT, None)
        context.rewrites.applied(self.name, node.name)
        return True

    def _left_out(self, node: Node) -> str | None:
        selection = Selection(self.ops, self.layers, self.regex)
        skip = SkipList(self.skip, self.skip_types, self.skip_regex)
        return selection.missed(node) or skip.skipped(node)

    def _narrow_weight(self, node: Node, rule: OpRule, context: Context) -> bool:
        """True when the weight gets fewer bits; where it cannot, it becomes INT8 and the node says why."""
        if self.weight_bits == 8 or rule.operand("weight") is None:
            return False
        reason = narrow_reason(node, rule, self.weight_bits)
        if reason is not None:
            node.metadata[INT8_WEIGHT] = reason
            context.rewrites.refused("insert-quant/weight-bits", node.name, reason)
        return reason is None


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
        what = f"a {node.op}" if node.op in QUANTIZED_OPS else "of a fake-quant graph"
        if node.op in QUANTIZED_OPS or node.name.endswith(FAKE_DEQUANT):
            cure = "quantize the float model from which it was made"
            if node.op in ("QuantizeLinear", "DequantizeLinear"):
                cure = f"`qir convert` takes its scales over (pass import-qdq), or {cure}"
            raise PassError(f"the model is already quantized: node '{node.name}' is {what}; {cure}")
