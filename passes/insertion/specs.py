"""The spec of each operand as a user wants it, and the reason why a layer has no such form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError
from qir.ir.node import Node
from qir.ir.types import QuantSpec
from qir.passes.rules import OperandRule, OpRule, TargetRules

Choice = Literal["auto", "true", "false"]
"""What the target's rules say, or what the user wants."""
_NARROW = {4: DType.I4, 5: DType.I5, 6: DType.I6, 7: DType.I7}


@dataclass(frozen=True)
class Wish:
    """What is asked of the operands beyond the target's rules: bits, zero point, scales of the weight."""

    bits: int
    weight_bits: int
    asymmetric: Choice
    per_channel: Choice

    def refused(self, node: Node, rule: OpRule) -> str | None:
        """Why the layer cannot have it, or None. A weight that cannot be narrow is no reason: it is INT8."""
        return (
            (self._too_wide(node, rule) if self.bits == 16 else None)
            or (self._too_symmetric(node, rule) if self.asymmetric == "true" else None)
            or (self._too_coarse(node, rule) if self.per_channel == "true" else None)
        )

    def spec(self, operand: OperandRule, node: Node, *, narrow: bool) -> QuantSpec:
        """The spec of one operand of a layer that is not refused; `narrow`: with `weight_bits`."""
        spec = operand.spec(node)
        if operand.role == "activation":
            symmetric = spec.symmetric or self.asymmetric == "false"
            return replace(spec, qtype=DType.I16 if self.bits == 16 else spec.qtype, symmetric=symmetric)
        if self.per_channel == "false":
            spec = replace(spec, axis=None, groups=1)
        return replace(spec, qtype=_NARROW[self.weight_bits]) if operand.role == "weight" and narrow else spec

    def _too_wide(self, node: Node, rule: OpRule) -> str | None:
        if rule.refuse_int16 is None:
            return f"INT16 was asked for, but there is no INT16 form of {node.op}"
        reason = rule.refuse_int16(node)
        return None if reason is None else f"INT16 was asked for, but {reason}"

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


def narrow_reason(node: Node, rule: OpRule, bits: int) -> str | None:
    """Why the layer's weight cannot have so many bits, fewer than 8, or None."""
    refuse = rule.refuse_weight_bits
    return f"there is no INT{bits} form of {node.op}" if refuse is None else refuse(node, bits)


def check_weight_bits(bits: int, rules: TargetRules) -> None:
    """ConfigError when no layer of the target has weights of so many bits."""
    if bits not in rules.weight_bits:
        raise ConfigError(
            f"weight-bits: target '{rules.name}' has no weights of {bits} bits, only of "
            f"{', '.join(map(str, rules.weight_bits))}"
        )
