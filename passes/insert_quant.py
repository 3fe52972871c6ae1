"""Inserts open quants in front of every operand that the target's rules want quantized.

Nothing is measured here: each quant only says by which spec its value is to be quantized. One value read by
several layers under one spec gets one quant, placed before the first of them. A layer that could be
quantized and is not carries the reason in its metadata under `qir.float`; one that was to have narrower
weights and has INT8 ones, the reason under `qir.int8_weight`.

Error compensation stores w as q8(w) + q8(w - q8(w)), two INT8 tensors with scales of their own, in the IR two
quants: a step of the sum is 1/254 of a step of the first. Weights and operands that are computed at run time
can have it.

What was decided here can be edited by hand: open a quant in a calibrated `.qir` (`!i8<asym scale=… zero=…>`
becomes `!i16<asym>`), and go on with `quantize-weights,calibrate,quantize-bias`:

    qir-opt model.onnx -p default --target qdq --data calibration.npz -o calibrated.qir
    qir-opt calibrated.qir -p quantize-weights,calibrate,quantize-bias --target qdq \\
        --data calibration.npz -o edited.qir
    qir-opt edited.qir --target qdq --emit fake-quant -o fake_quant.onnx
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant
from qir.ir.walk import walk_nodes
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.layers import quantize_layer
from qir.passes.insertion.outputs import OutputPrecision, check_outputs, round_outputs
from qir.passes.insertion.selection import (
    Selection,
    SkipList,
    check_layers,
    check_ops,
    check_patterns,
    check_skipped,
    rule_of,
    skip_list,
)
from qir.passes.insertion.specs import (
    Choice,
    Wish,
    check_operands,
    check_weight_bits,
    narrow_reason,
    parse_operands,
)
from qir.passes.insertion.tensors import quantize_tensor, wanted_tensors
from qir.passes.left_float import FLOAT, note_bodies, note_float
from qir.passes.rules import LayerPrecision, OpRule, TargetRules

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

    `precision` says how the operands of layers are stored: int8; int16, the first of them only; int16-ec, the
    others with error compensation (two int8 tensors that are added); dual-int16, all of them; float16.
    `operands` are single ones by input index, as in `1:ec`, also int8, int16, float16 and float32. `outputs`
    is what outputs of the model are rounded to, if anything.
    `weight_bits` are those of weights of INT8 layers. `asymmetric` says whether inputs have a
    zero point, `per_channel` whether each output channel of a weight has its scale; `auto` is what the
    target's rules say. `layers`, `ops` and `regex` narrow it down to some; what is left can be given other
    precisions by another insert-quant behind. `tensors` are inputs of layers that compute in float, as in
    `pool1:0`, which travel as INT8, and `symmetric_tensors` those that do so without zero point.
    """

    name: ClassVar[str] = "insert-quant"
    precision: LayerPrecision = "int8"
    weight_bits: Literal[4, 5, 6, 7, 8] = 8
    operands: tuple[str, ...] = ()
    outputs: OutputPrecision = "float32"
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
        parse_operands(self.operands)
        if self.precision != "int8" and self.weight_bits < 8:
            raise ConfigError(
                f"precision={self.precision} does not go with weight-bits={self.weight_bits}, which is for "
                "precision=int8; give each an insert-quant of its own, with layers=… or ops=…"
            )

    def skipping(self, entries: Sequence[str]) -> InsertQuant:
        """The same, which skips further layers: names, `type:OP` or `regex:EXPRESSION`."""
        more = skip_list(entries)
        return replace(
            self,
            skip=(*self.skip, *more.layers),
            skip_types=(*self.skip_types, *more.ops),
            skip_regex=(*self.skip_regex, *more.regex),
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
        changed |= round_outputs(graph, self.outputs)
        return note_bodies(graph, rules) or changed

    def _check(self, graph: Graph, rules: TargetRules) -> None:
        check_weight_bits(self.weight_bits, rules)
        check_operands(parse_operands(self.operands), rules)
        check_outputs(self.outputs, rules)
        check_ops("ops", self.ops, rules)
        check_ops("skip_types", self.skip_types, rules)
        check_patterns("regex", self.regex)
        check_patterns("skip_regex", self.skip_regex)
        check_layers("skip", self.skip, graph, rules)
        check_skipped(self.skip_regex, graph)
        check_layers("layers", self.layers, graph, rules)

    def _treat(
        self, graph: Graph, node: Node, rule: OpRule, order: Mapping[Node, int], context: Context
    ) -> bool:
        """Quantize a layer, or write down why not; True when the graph changed."""
        single = parse_operands(self.operands)
        wish = Wish(self.precision, self.weight_bits, self.asymmetric, self.per_channel, single)
        assert context.rules is not None
        reason = self._left_out(node) or rule.refuse(node) or wish.refused(node, rule, context.rules)
        if reason is not None:
            context.rewrites.refused(self.name, node.name, reason)
            return note_float(node, reason)
        narrow = self._narrow_weight(node, rule, context)
        quantize_layer(graph, node, rule, wish, order, narrow=narrow)
        node.metadata.pop(FLOAT, None)
        context.rewrites.applied(self.name, node.name)
        return True

    def _left_out(self, node: Node) -> str | None:
        selection = Selection(self.ops, self.layers, self.regex)
        skip = SkipList(self.skip, self.skip_types, self.skip_regex)
        return selection.missed(node) or skip.skipped(node)

    def _narrow_weight(self, node: Node, rule: OpRule, context: Context) -> bool:
        """True when the weight gets fewer bits; where it cannot, it becomes INT8 and the node says why."""
        weight = rule.operand("weight")
        if self.weight_bits == 8 or weight is None or weight.index in parse_operands(self.operands):
            return False
        reason = narrow_reason(node, rule, self.weight_bits)
        if reason is not None:
            node.metadata[INT8_WEIGHT] = reason
            context.rewrites.refused("insert-quant/weight-bits", node.name, reason)
        return reason is None


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
