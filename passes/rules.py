"""How a target states what it can quantize: the types that backends fill and passes read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from qir.ir.node import Node
from qir.ir.types import QuantSpec

KEEP_FLOAT = "qir.keep_float"
"""Metadata key of a node that no target may quantize: the reason, from whoever has made the graph."""
KEEP_APART = "qir.keep_apart"
"""Metadata key of a BatchNormalization that must not be fused: the reason, from the graph's maker."""
Role = Literal["activation", "weight", "bias"]
Refusal = Callable[[Node], str | None]
"""Why a node cannot have something (a sentence), or None when it can."""
Stored = Literal["int4", "int5", "int6", "int7", "int8", "int16", "ec", "float16", "float32"]
"""How an operand is stored; `ec` is error compensation, two int8 tensors that are added."""
LayerPrecision = Literal["int8", "int16", "int16-ec", "dual-int16", "float16"]
LAYER_PRECISIONS: Mapping[LayerPrecision, tuple[Stored, Stored]] = MappingProxyType(
    {
        "int8": ("int8", "int8"),
        "int16": ("int16", "int8"),
        "int16-ec": ("int16", "ec"),
        "dual-int16": ("int16", "int16"),
        "float16": ("float16", "float16"),
    }
)
"""How the first operand of a layer is stored, and all others, by the name that it has for the whole layer."""
PrecisionRefusal = Callable[[Node, Role, Stored], str | None]
"""Why the operand of a node in some role cannot be stored so (a sentence), or None when it can."""


def _int8_only(node: Node, _role: Role, precision: Stored) -> str | None:
    return None if precision == "int8" else f"there is no {precision.upper()} form of {node.op}"


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

    `operands` begin with the one that is stored as the first of `LAYER_PRECISIONS`. `refuse` says why a node
    must stay in float, `refuse_precision` why one of its operands cannot be something else than INT8.
    """

    op: str
    operands: tuple[OperandRule, ...]
    refuse: Refusal
    refuse_precision: PrecisionRefusal = _int8_only

    def operand(self, role: Role) -> OperandRule | None:
        """The first operand in that role, if the op has one."""
        return next((o for o in self.operands if o.role == role), None)


@dataclass(frozen=True)
class TargetRules:
    """What a target can quantize: a rule per op, and why it never quantizes other ops (`notes`).

    `tensors` has the ops that compute in float but may read an input as integers (tensor quantization):
    `tensors[op](node, i)` is the reason why input `i` of a node cannot be read so, or None. `weight_bits` are
    the widths of weights that any op has, `precisions` what any operand can be stored in. `whole_layers`:
    a layer computes in float with all of its operands, or with none. `outputs` are the precisions that
    outputs of the model can be rounded to.
    """

    name: str
    ops: Mapping[str, OpRule]
    notes: Mapping[str, str]
    tensors: Mapping[str, Callable[[Node, int], str | None]] = field(default_factory=dict)
    weight_bits: tuple[int, ...] = (4, 5, 6, 7, 8)
    precisions: Mapping[Role, tuple[Stored, ...]] = field(default_factory=dict)
    whole_layers: bool = True
    outputs: tuple[Stored, ...] = ()
