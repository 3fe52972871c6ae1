"""How a target states what it can quantize: the types that backends fill and passes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from qir.ir.node import Node
from qir.ir.types import QuantSpec

Role = Literal["activation", "weight", "bias"]


@dataclass(frozen=True)
class OperandRule:
    """One operand that a target wants quantized: input `index` of a node, by the spec `spec(node)`.

    A weight of Conv: `QuantSpec(I8, True, axis=0)`; of ConvTranspose: `axis=1, groups=group`; a bias: int32.
    """

    role: Role
    index: int
    spec: Callable[[Node], QuantSpec]


@dataclass(frozen=True)
class OpRule:
    """How one op is quantized. `refuse(node)` is the reason why this node must stay in float, or None."""

    op: str
    operands: tuple[OperandRule, ...]
    refuse: Callable[[Node], str | None]

    def operand(self, role: Role) -> OperandRule | None:
        """The first operand in that role, if the op has one."""
        return next((o for o in self.operands if o.role == role), None)


@dataclass(frozen=True)
class TargetRules:
    """What a target can quantize: a rule per op, and why it never quantizes other ops (`notes`)."""

    name: str
    ops: Mapping[str, OpRule]
    notes: Mapping[str, str]
