"""How a target states what it can quantize: the types that backends fill and passes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from qir.ir.node import Node
from qir.ir.types import QuantSpec

KEEP_FLOAT = "qir.keep_float"
"""Metadata key of a node that no target may quantize: the reason, from whoever has made the graph."""
Role = Literal["activation", "weight", "bias"]
Refusal = Callable[[Node], str | None]
"""Why a node cannot have something (a sentence), or None when it can."""


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
    """How one op is quantized.

    `refuse` says why a node must stay in float, `refuse_int16` why its input cannot be INT16, and
    `refuse_weight_bits(node, bits)` why its weight cannot have so many bits, fewer than 8; the last two are
    None for an op that never has that form.
    """

    op: str
    operands: tuple[OperandRule, ...]
    refuse: Refusal
    refuse_int16: Refusal | None = None
    refuse_weight_bits: Callable[[Node, int], str | None] | None = None

    def operand(self, role: Role) -> OperandRule | None:
        """The first operand in that role, if the op has one."""
        return next((o for o in self.operands if o.role == role), None)


@dataclass(frozen=True)
class TargetRules:
    """What a target can quantize: a rule per op, and why it never quantizes other ops (`notes`).

    `tensors` has the ops that compute in float but may read an input as integers (tensor quantization):
    `tensors[op](node, i)` is the reason why input `i` of a node cannot be read so, or None. `weight_bits` are
    the widths of weights that any op has.
    """

    name: str
    ops: Mapping[str, OpRule]
    notes: Mapping[str, str]
    tensors: Mapping[str, Callable[[Node, int], str | None]] = field(default_factory=dict)
    weight_bits: tuple[int, ...] = (4, 5, 6, 7, 8)
