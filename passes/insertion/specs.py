"""The precision of each operand as a user wants it, and the reason why a layer has no such form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, cast, get_args

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.node import Node, Value
from qir.ir.quants import OperandPrecision, operand_precision, unquantized
from qir.ir.types import QuantSpec
from qir.passes.rules import LAYER_PRECISIONS, LayerPrecision, OperandRule, OpRule, Stored, TargetRules

Choice = Literal["auto", "true", "false"]
"""What the target's rules say, or what the user wants."""
_TYPES: Mapping[Stored, DType] = MappingProxyType(
    {
        "int4": DType.I4,
        "int5": DType.I5,
        "int6": DType.I6,
        "int7": DType.I7,
        "int16": DType.I16,
        "float16": DType.F16,
    }
)


@dataclass(frozen=True)
class Wish:
    """What is asked of the operands of a layer: how each is stored, zero point, scales of the weight.

    `operands` are single ones by input index, which win over the `precision` of the whole layer.
    """

    precision: LayerPrecision
    weight_bits: int
    asymmetric: Choice
    per_channel: Choice
    operands: Mapping[int, Stored] = field(default_factory=dict)

    def refused(self, node: Node, rule: OpRule, rules: TargetRules) -> str | None:
        """Why the layer cannot have it, or None. A weight that cannot be narrow is no reason: it is INT8."""
        return (
            self._unavailable(node, rule, rules)
            or (self._too_symmetric(node, rule) if self.asymmetric == "true" else None)
            or (self._too_coarse(node, rule) if self.per_channel == "true" else None)
        )

    def stored(self, operand: OperandRule, rule: OpRule) -> Stored:
        """How an operand is to be stored that is no bias."""
        first, others = LAYER_PRECISIONS[self.precision]
        return self.operands.get(operand.index, first if operand is rule.operands[0] else others)

    def quants(
        self, operand: OperandRule, node: Node, rule: OpRule, *, narrow: bool
    ) -> OperandPrecision | None:
        """The quants of one operand of a layer that is not refused, None for float32.

        `narrow`: with `weight_bits`. Biases come last, when the operands that they are scaled by have theirs.
        """
        spec = operand.spec(node)
        if operand.role == "bias":
            kind = bias_type(node)
            per_channel = self.per_channel != "false"
            if kind is not DType.I32:
                return None if kind is None else OperandPrecision(QuantSpec(kind))
            return OperandPrecision(spec if per_channel else _single(spec))
        stored = self.stored(operand, rule)
        value = node.input(operand.index)
        if value is not None and unquantized(value).constant is None:
            spec = replace(spec, symmetric=spec.symmetric or self.asymmetric == "false")
        elif self.per_channel == "false":
            spec = _single(spec)
        if operand.role == "weight" and narrow:
            stored = cast(Stored, f"int{self.weight_bits}")
        if stored == "float32":
            return None
        if stored == "ec":
            return OperandPrecision(spec, replace(spec, symmetric=True))
        if stored == "float16":
            return OperandPrecision(QuantSpec(DType.F16))
        return OperandPrecision(replace(spec, qtype=_TYPES.get(stored, spec.qtype)))

    def _unavailable(self, node: Node, rule: OpRule, rules: TargetRules) -> str | None:
        """Why the operands cannot be stored as they are to be."""
        inputs = ((o, node.input(o.index)) for o in rule.operands if o.role != "bias")
        here = [operand for operand, value in inputs if value is not None and has_floats(value)]
        wanted = {operand.index: self.stored(operand, rule) for operand in here}
        for operand in here:
            reason = rule.refuse_precision(node, operand.role, wanted[operand.index])
            if reason is not None:
                return f"{wanted[operand.index].upper()} was asked for, but {reason}"
        floats = [stored for stored in wanted.values() if stored.startswith("float")]
        if set(wanted.values()) == {"float32"}:
            return "float32 was asked for"
        if rules.whole_layers and floats and len({*wanted.values()}) > 1:
            return (
                f"{floats[0]} was asked for some of its operands; target '{rules.name}' computes in float "
                "with all of them or none"
            )
        return None

    def _too_symmetric(self, node: Node, rule: OpRule) -> str | None:
        operand = rule.operand("activation")
        if operand is None or not operand.spec(node).symmetric:
            return None
        return f"an asymmetric input was asked for, but this {node.op} takes symmetric ones only"

    def _too_coarse(self, node: Node, rule: OpRule) -> str | None:
        operand = rule.operand("weight")
        if operand is None or operand.spec(node).axis is not None:
            return None
        return f"weight scales per channel were asked for, but {node.op} has one for the whole weight"


def has_floats(value: Value) -> bool:
    """Whether a value can be an operand: of floats, or of unknown type; not a constant without elements."""
    dtype = value.tensor.dtype
    return (dtype is None or dtype.is_float) and (value.constant is None or value.constant.size > 0)


def _single(spec: QuantSpec) -> QuantSpec:
    return replace(spec, axis=None, groups=1)


def bias_type(node: Node) -> DType | None:
    """What the bias of a layer is stored in that reads quants: int32 where integers are summed, or float16.

    None, float32, beside an operand in float.
    """
    found = [operand_precision(node, i) for i in (0, 1)]
    types = [precision.qtype for precision in found if precision is not None]
    if len(types) < 2:
        return None
    if all(kind is DType.F16 for kind in types):
        return DType.F16 if node.op != "MatMul" else None  # an Add behind it adds the bias
    return DType.I32 if all(kind.is_integer for kind in types) else None


def narrow_reason(node: Node, rule: OpRule, bits: int) -> str | None:
    """Why the layer's weight cannot have so many bits, fewer than 8, or None."""
    return rule.refuse_precision(node, "weight", cast(Stored, f"int{bits}"))


def check_weight_bits(bits: int, rules: TargetRules) -> None:
    """ConfigError when no layer of the target has weights of so many bits."""
    if bits not in rules.weight_bits:
        raise ConfigError(
            f"weight-bits: target '{rules.name}' has no weights of {bits} bits, only of "
            f"{', '.join(map(str, rules.weight_bits))}"
        )


def parse_operands(texts: Sequence[str]) -> dict[int, Stored]:
    """Input index -> how it is stored, of texts like `1:ec`; ConfigError for any other text."""
    found: dict[int, Stored] = {}
    for text in texts:
        index, _, name = text.partition(":")
        known: tuple[Stored, ...] = get_args(Stored)
        stored = next((precision for precision in known if precision == name), None)
        if not index.isdecimal() or stored is None:
            raise ConfigError(
                f"operands: '{text}' should be the index of an input and a precision, as in '1:ec'; "
                f"precisions are {', '.join(known)}{did_you_mean(name, known)}"
            )
        if found.get(int(index), stored) != stored:
            raise ConfigError(f"operands: input {index} is asked for as {found[int(index)]} and as {stored}")
        found[int(index)] = stored
    return found


def check_operands(operands: Mapping[int, Stored], rules: TargetRules) -> None:
    """ConfigError for an input that no op of the target has quantized."""
    known = sorted({o.index for rule in rules.ops.values() for o in rule.operands if o.role != "bias"})
    for index in operands:
        if index not in known:
            raise ConfigError(
                f"operands: target '{rules.name}' quantizes no input {index} of any op, only "
                f"{', '.join(map(str, known))}"
            )
