"""Turns models with QuantizeLinear and DequantizeLinear, whoever quantized or trained them, into qir's form.

    x -> QuantizeLinear -> DequantizeLinear -> Conv      ->   x -> qir.quant!i8<scale zero> -> Conv
    integers or floats (-> QuantizeLinear) -> DequantizeLinear -> weight   ->   floats -> qir.quant -> weight

A layer becomes one of integers where the target can run it so with the factors of the model: its input and
its weight are quantized, with equal factors on both sides of each pair; the weight has no zero point and the
channel axis that the target wants, or one scale, which then serves all channels. uint8 becomes int8 of the
same meaning. The quant of its bias is left open for `quantize-bias`: int32 in steps of scale_x * scale_w,
which are those in which such a model stores its bias, if it does.

Every other layer computes in float, with the reason under `qir.float`; its weights keep the values to which
they were quantized. Inputs of Add and MaxPool stay integers up to there, where the target has that. Pairs
that feed other float computation round as they did, see `qdq.restored`. With `between-floats=drop` they go
but for their saturation, see `qdq.removal`, and so do those that cannot be kept: the numbers are others than
the model's there, without the rounding more accurate ones, and the log lists each. A pair of unequal factors
stays as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_graphs, walk_nodes
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.left_float import FLOAT, note_bodies, note_float
from qir.passes.qdq.constants import fold_dequantized
from qir.passes.qdq.factors import is_dequantize, is_quantize
from qir.passes.qdq.layers import Model, Quants, reads_quant
from qir.passes.qdq.narrow import move_narrow_ranges
from qir.passes.qdq.pairs import Pair, find_pairs, lone_reason
from qir.passes.qdq.removal import remove_pairs
from qir.passes.qdq.restored import keep_obstacle, read_restored, restore
from qir.passes.rules import OpRule

BetweenFloats = Literal["keep", "drop"]
_OTHER_FORMS = frozenset({"ConvInteger", "MatMulInteger", "QGemm", "QLinearConv", "QLinearMatMul"})
"""Operators on integers: another way to write a quantized model."""


@dataclass(frozen=True)
class ImportQdq(Pass):
    """Turn QuantizeLinear/DequantizeLinear pairs into closed quants where the target runs integers.

    `between_floats` says what becomes of pairs whose readers compute in float.
    """

    name: ClassVar[str] = "import-qdq"
    between_floats: BetweenFloats = "keep"

    def run(self, graph: Graph, context: Context) -> bool:
        """Import all pairs; PassError without rules, for scales that are no numbers, for operator form."""
        nodes = tuple(walk_nodes(graph))
        _refuse_other_forms(nodes)
        if not any(is_quantize(node) or is_dequantize(node) for node in nodes):
            return False
        if context.rules is None:
            raise PassError("import-qdq needs the rules of a target: pass --target (or Context.rules)")
        before = str(graph)
        for inner in walk_graphs(graph):
            origins = fold_dequantized(inner)
            move_narrow_ranges(inner)
            pairs = find_pairs(inner)
            if inner is graph:  # bodies of control flow run in float
                model = Model(graph, context.rules, origins, pairs)
                read_restored(graph, _quantize(model, context, self.between_floats), context.rewrites)
            remove_pairs(inner, pairs, context.rewrites)
            for value, reason in pairs.items():
                if isinstance(reason, str) and value.producer is not None:
                    _leave(value.producer, reason, context)
            for node in inner.nodes:
                lone = lone_reason(node) if is_quantize(node) else None
                if lone is not None:
                    _leave(node, lone, context)
        note_bodies(graph, context.rules)
        return str(graph) != before


def _quantize(model: Model, context: Context, between_floats: BetweenFloats) -> dict[Pair, Node]:
    """Let each layer read quants, or note why it reads floats; returns what pairs to be kept become."""
    wanted: dict[Node, tuple[OpRule, Pair]] = {}  # all is looked at before anything is rewired
    for node in model.graph.nodes:
        rule = model.rule(node)
        if rule is None or FLOAT in node.metadata or reads_quant(node):
            continue
        found = model.input_pair(node, rule)
        if isinstance(found, str):
            _leave(node, found, context)
        else:
            wanted[node] = rule, found
    quants, restored = Quants(model), dict[Pair, Node]()
    for node in model.graph.nodes:
        pair = model.pairs.get(node.outputs[0]) if is_dequantize(node) and node.outputs[0] else None
        if isinstance(pair, Pair) and between_floats == "keep" and keep_obstacle(pair) is None:
            restored[pair] = restore(model.graph, quants, pair)
        elif node in wanted:
            quants.quantize_layer(node, *wanted[node])
            context.rewrites.applied(ImportQdq.name, node.name)
        else:
            _quantize_tensors(model, quants, node)
    return restored


def _quantize_tensors(model: Model, quants: Quants, node: Node) -> None:
    """Let Add and MaxPool read quants: the target carries the values as integers up to there."""
    refuse = model.rules.tensors.get(node.op)
    if refuse is None or node.domain not in ("", "ai.onnx"):
        return
    for index, value in enumerate(node.inputs):
        pair = None if value is None else model.pairs.get(value)
        if not isinstance(pair, Pair) or pair.params.spec.axis is not None:
            continue
        if pair.params.spec.qtype is DType.I8 and refuse(node, index) is None:
            quants.quantize_tensor(node, index, pair)


def _leave(node: Node, reason: str, context: Context) -> None:
    context.rewrites.refused(ImportQdq.name, node.name, reason)
    note_float(node, reason)


def _refuse_other_forms(nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        if node.op in _OTHER_FORMS:
            raise PassError(
                f"node '{node.name}' is a {node.op}: the model was quantized in operator form; "
                "export it with QuantizeLinear and DequantizeLinear (QuantFormat.QDQ) instead"
            )
