"""Which layers of a QDQ model the target runs in integers, and the quants that make them so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import bias_add_candidate, is_quant
from qir.ir.types import Quant, QuantParams, QuantSpec
from qir.passes.constants import write_operand
from qir.passes.qdq.constants import Origins
from qir.passes.qdq.factors import has_inverse
from qir.passes.qdq.pairs import Pair, Pairs, pair_before
from qir.passes.rules import OpRule, TargetRules


@dataclass(frozen=True)
class Model:
    """What was found in a QDQ graph: where its constants come from, and its pairs; and the target's rules."""

    graph: Graph
    rules: TargetRules
    origins: Origins
    pairs: Pairs

    def rule(self, node: Node) -> OpRule | None:
        """The target's rule for a node, if it has one."""
        return self.rules.ops.get(node.op) if node.domain in ("", "ai.onnx") else None

    def input_pair(self, node: Node, rule: OpRule) -> Pair | str:
        """The pair by which the input of a layer is quantized, or why the layer must stay in float."""
        weight, value = rule.operand("weight"), node.input(1)
        if weight is not None and value is not None and value.constant is not None:
            if value not in self.origins:
                return f"its weight '{value.name}' is not quantized in the model"
            _make_plain(node, self.origins)
        reason = rule.refuse(node)
        if reason is not None:
            return reason
        pair = self._activation_pair(node, rule)
        reason = None if weight is None else self._weight_obstacle(node, rule)
        return pair if isinstance(pair, str) or reason is None else reason

    def _activation_pair(self, node: Node, rule: OpRule) -> Pair | str:
        value = node.inputs[0]
        assert value is not None  # refuse has looked
        pair = pair_before(value, self.pairs)
        if pair is None:
            return f"its data input '{value.name}' is not quantized in the model"
        if isinstance(pair, str):
            return f"its data input '{value.name}' is left in float: {pair}"
        return self._activation_obstacle(node, rule, pair.params) or pair

    def _activation_obstacle(self, node: Node, rule: OpRule, params: QuantParams) -> str | None:
        operand, stored = rule.operand("activation"), params.spec.qtype
        assert operand is not None
        if params.spec.axis is not None:
            return f"its data input has one scale per channel; {self.rules.name} takes a single one"
        if params.zero_point[0] and operand.spec(node).symmetric:
            return (
                f"its input has zero point {params.zero_point[0]}; {self.rules.name} runs this layer without"
            )
        if stored not in (DType.I8, DType.I16):
            return f"its input is {stored.value}, not int8 or int16"
        if not has_inverse(params):
            return "float32 cannot hold the inverse of its input's scale"
        if stored is DType.I8:
            return None
        return rule.refuse_precision(node, "activation", "int16")

    def _weight_obstacle(self, node: Node, rule: OpRule) -> str | None:
        value, operand = node.input(1), rule.operand("weight")
        assert value is not None
        assert operand is not None
        found, spec = self.origins[value], operand.spec(node)
        if isinstance(found, str):
            return f"its weight '{value.name}' is left in float: {found}"
        if found.spec.qtype not in (DType.I8, DType.I4):
            return f"its weight is {found.spec.qtype.value}, not int8 or int4"
        zero = next((z for z in found.zero_point if z), 0)
        if zero:
            return f"its weight has zero point {zero}; weights of {self.rules.name} have none"
        if found.spec.axis is not None and found.spec.axis != spec.axis and len(set(found.scale)) > 1:
            return _axis_reason(found, spec.axis, f"{self.rules.name} takes", node.op)
        return None


class Quants:
    """Quants by value and parameters, so that equal ones are shared; each stands before its first reader."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._made: dict[tuple[Value, Quant], Value] = {}

    def quantize_layer(self, node: Node, rule: OpRule, pair: Pair) -> None:
        """Let a layer without obstacle read quants; that of its bias stays open for quantize-bias."""
        value = node.inputs[0]
        assert value is not None
        self._read(node, 0, pair.source if value is pair.dequantize.output else value, pair.params)
        for operand in rule.operands:
            reader = bias_add_candidate(node) if (node.op, operand.role) == ("MatMul", "bias") else node
            value = None if reader is None else reader.input(operand.index)
            if reader is None or value is None or operand.role == "activation":
                continue
            quant: Quant = operand.spec(node)
            if operand.role == "weight":
                quant = self._weight_params(node, value, operand.spec(node), rule, pair.params)
            self._read(reader, operand.index, value, quant)

    def quantize_tensor(self, node: Node, index: int, pair: Pair) -> None:
        """Let input `index` of a node read the quant for which its pair stands."""
        self._read(node, index, pair.source, pair.params)

    def _weight_params(
        self, node: Node, value: Value, spec: QuantSpec, rule: OpRule, activation: QuantParams
    ) -> QuantParams:
        """The weight's parameters with a scale for each channel of the layer, in its order.

        The product of a scale with that of the input must be a normal float32 number. Channels for which it
        is smaller contribute nothing, and get a scale for which it is one.
        """
        found = self._model.origins[value]
        assert isinstance(found, QuantParams)
        assert value.constant is not None
        packs = rule.refuse_precision(node, "weight", "int4") is None
        spec = replace(spec, qtype=found.spec.qtype if packs else DType.I8)  # int8 holds int4
        smallest = np.float32(2 * np.finfo(np.float32).tiny / np.float64(activation.scale[0]))
        scale = np.maximum(found.scale_array(), smallest)
        if found.spec.axis is None or found.spec.axis != spec.axis:
            scale = scale[:1]
        return QuantParams.of(spec, np.tile(scale, spec.channels(value.constant.shape) // scale.size), 0)

    def _read(self, reader: Node, index: int, value: Value, quant: Quant) -> None:
        if (value, quant) not in self._made:
            graph = self._model.graph
            name = graph.unique_value_name(f"{value.name}.q")
            kind = value.tensor.with_quant(quant)
            self._made[value, quant] = graph.add(
                "quant", [value], domain="qir", name=name, outputs=[name], types=[kind], before=reader
            ).output
        reader.set_input(index, self._made[value, quant])


def _axis_reason(weight: QuantParams, wanted: int | None, who: str, op: str) -> str:
    if wanted is None:
        return f"its weight has one scale per channel; {who} a single one for {op}"
    return f"its weight has scales along axis {weight.spec.axis}; {who} them along axis {wanted} for {op}"


def reads_quant(node: Node) -> bool:
    """True when an input of a node is quantized already."""
    return any(v is not None and v.producer is not None and is_quant(v.producer) for v in node.inputs)


def _make_plain(node: Node, origins: Origins) -> None:
    """Transpose the weight of a Gemm that has nothing else to normalize: [N, K] becomes [K, N], transB=0.

    A weight has one scale there, or stays in float, so that the parameters stay what they are.
    """
    value = node.input(1)
    if node.op != "Gemm" or not node.attributes.get("transB", 0) or value is None or value.constant is None:
        return
    found = origins[value]
    if isinstance(found, QuantParams) and found.spec.axis is not None:
        found = replace(found, spec=replace(found.spec, axis=1 - found.spec.axis))
    write_operand(node, 1, Constant.of(np.ascontiguousarray(value.constant.array.T)), value.name)
    made = node.inputs[1]
    assert made is not None
    origins[made] = found
    node.attributes["transB"] = 0
