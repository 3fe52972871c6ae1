"""In what Ascend stores operands, and the reason why a given layer cannot have it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from qir.ir.node import Node, Value
from qir.ir.quants import unquantized
from qir.passes.rules import Refusal, Role, Stored

WEIGHT_BITS = (4, 6, 7, 8)
PRECISIONS: Mapping[Role, tuple[Stored, ...]] = MappingProxyType(
    {
        "activation": ("int8", "int16", "float16", "float32"),
        "weight": ("int4", "int6", "int7", "int8", "float16", "float32"),
        "bias": ("float16", "float32"),
    }
)
_ROLES: Mapping[Role, str] = MappingProxyType({"activation": "inputs", "weight": "weights", "bias": "biases"})


def int_attribute(node: Node, name: str, default: int) -> int:
    """An integer attribute, or its default when the node does not carry it."""
    found = node.attributes.get(name, default)
    return found if isinstance(found, int) else default


def weight_shape(value: Value | None) -> tuple[int, ...]:
    """The shape of a constant, quantized or not; no dimensions for anything else."""
    constant = None if value is None else unquantized(value).constant
    return () if constant is None else constant.shape


def rank(value: Value | None) -> int:
    """The number of dimensions of a constant, quantized or not; 0 for anything else."""
    return len(weight_shape(value))


def int16_conv(node: Node) -> str | None:
    """Why a Conv or ConvTranspose has no INT16 input, or None."""
    spatial = rank(node.input(1)) - 2
    if spatial > 2:
        return f"it convolves over {spatial} spatial dimensions; Ascend takes INT16 inputs over 1 or 2 only"
    return None


def int16_gemm(node: Node) -> str | None:
    """Why a Gemm has no INT16 input, or None."""
    return (
        "it has no bias; Ascend takes INT16 inputs of a Gemm with bias only"
        if node.input(2) is None
        else None
    )


def _int4(node: Node) -> str | None:
    """INT4 weights are packed in pairs along the input channels, so there must be an even number of them."""
    groups = int_attribute(node, "group", 1)
    if groups > 1:
        return f"it has {groups} groups; Ascend packs INT4 weights of layers without groups only"
    shape = weight_shape(node.input(1))
    channels = shape[channel_axis(node.op)] if len(shape) > 1 else 0
    return f"it has {channels} input channels; Ascend packs INT4 weights in pairs" if channels % 2 else None


def precision_reason(int16: Refusal | None, node: Node, role: Role, precision: Stored) -> str | None:
    """Why an operand cannot be stored so; float16 is what whole layers compute in."""
    if precision not in PRECISIONS[role]:
        has = ", ".join(PRECISIONS[role])
        return f"Ascend has no {precision} {_ROLES[role]}, only {has}"
    if role == "weight" and precision.startswith("int"):
        return weight_bits_reason(node, int(precision.removeprefix("int")))
    if precision == "int16":
        return f"there is no INT16 form of {node.op}" if int16 is None else int16(node)
    return None


def weight_bits_reason(node: Node, bits: int) -> str | None:
    """Why the weight of a node cannot have so many bits, or None."""
    if bits == 8:
        return None
    if bits == 4:
        return _int4(node)
    if bits not in WEIGHT_BITS:
        return f"Ascend has no INT{bits} weights, only {_names(WEIGHT_BITS)}"
    size = rank(node.input(1))
    if node.op != "Conv" or size != 4:
        return (
            f"it is a {node.op} with a weight of {size} dimensions; "
            f"Ascend takes INT{bits} weights of 2-D convolutions only"
        )
    return None


def _names(bits: Sequence[int]) -> str:
    return " and ".join([", ".join(f"INT{b}" for b in bits[:-1]), f"INT{bits[-1]}"])


def channel_axis(op: str) -> int:
    """The axis of the input channels in the weight of an op, along which INT4 weights are packed."""
    return 1 if op == "Conv" else 0
