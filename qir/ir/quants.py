"""Questions about the quants of a graph: which precision an operand has, and which layers are quantized.

A quant of one input, `%q = qir.quant(%x)`, rounds a value. One of two, `%e = qir.quant(%x, %q)`, rounds what
the first leaves of it and adds that: q(x) + q(x - q(x)), error compensation. Both are read as one operand, so
whoever wants to know how an operand is stored asks `operand_precision`.
"""

from __future__ import annotations

from dataclasses import dataclass

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.types import Quant, QuantParams, QuantSpec, spec_of

QUANT_OP = "quant"
QUANT_DOMAIN = "qir"
TENSOR_OPS = frozenset({"Add", "Identity", "MaxPool"})
"""Ops that compute in float but may read activations that travel as integers (tensor quantization).

The Identity of a quant is the rounded value for readers of any op, see `is_restored`.
"""


def is_quant(node: Node) -> bool:
    """True for `qir.quant`, the node that gives its input a quantized type."""
    return node.op == QUANT_OP and node.domain == QUANT_DOMAIN


def quant_of(value: Value | None) -> Quant | None:
    """The quantization of a value made by a quant node; None for every other value.

    With error compensation that of the first quant, which covers the range of the value.
    """
    precision = value_precision(value)
    return None if precision is None else precision.quant


def is_restored(node: Node) -> bool:
    """True for the Identity of a quant: what has been rounded to integers is a float value again.

    Its readers, of any op, compute in float, while a layer that reads the quant itself computes in integers.
    """
    return node.op == "Identity" and not node.domain and operand_precision(node, 0) is not None


def unquantized(value: Value) -> Value:
    """The float value behind a quant, or `value` itself when no quant made it."""
    producer = value.producer
    if producer is None or not is_quant(producer) or producer.inputs[0] is None:
        return value
    return producer.inputs[0]


@dataclass(frozen=True)
class OperandPrecision:
    """How an operand is stored: under `quant`, and what that leaves of it under `rest`, if any.

    With a `rest` it is error compensation: two integer tensors, whose values are added.
    """

    quant: Quant
    rest: Quant | None = None

    @property
    def qtype(self) -> DType:
        """What it is stored in, the coarser of two."""
        return spec_of(self.quant).qtype

    @property
    def single(self) -> Quant | None:
        """The quantization of an operand that is stored once; None with error compensation."""
        return self.quant if self.rest is None else None

    @property
    def is_closed(self) -> bool:
        """Whether every scale is known."""
        return isinstance(self.quant, QuantParams) and not isinstance(self.rest, QuantSpec)

    @property
    def name(self) -> str:
        """As users call it: `int8`, `uint8`, `int16`, `float16`, `ec`."""
        return self.qtype.word if self.rest is None else "ec"


def operand_precision(node: Node, i: int) -> OperandPrecision | None:
    """How input `i` of a node is stored; None when it is read in float (or absent)."""
    return value_precision(node.input(i))


def value_precision(value: Value | None) -> OperandPrecision | None:
    """How what reads `value` finds it stored: as a quant says that made it; None for every other value."""
    producer = None if value is None else value.producer
    if value is None or producer is None or not is_quant(producer):
        return None
    quant = value.tensor.quant
    if quant is None:
        return None
    coarse = coarse_quant(producer)
    first = None if coarse is None else coarse.output.tensor.quant
    return OperandPrecision(quant) if first is None else OperandPrecision(first, quant)


def coarse_quant(quant: Node) -> Node | None:
    """The quant whose rest a quant of two inputs rounds; None for one that rounds a value itself."""
    value = quant.input(1)
    return None if value is None else value.producer


def is_coarse(quant: Node) -> bool:
    """True for the first of the two quants of error compensation: it belongs to those that read it."""
    return is_quant(quant) and any(is_quant(use.node) and use.index == 1 for use in quant.output.uses)


def layers_reading(quant: Node) -> tuple[Node, ...]:
    """The nodes that read what a quant gives, itself or with its rest added, each once."""
    found: dict[Node, None] = {}
    for reader, _ in quant.output.uses:
        found |= dict.fromkeys(layers_reading(reader)) if is_quant(reader) else {reader: None}
    return tuple(found)


def find_quant(value: Value, spec: QuantSpec) -> Value | None:
    """The value rounded under `spec` alone (open or closed) in its own graph, if there is such a quant."""
    for node, _ in value.uses:
        if is_quant(node) and node.graph is value.graph and node.input(1) is None and not is_coarse(node):
            quant = node.output.tensor.quant
            if quant is not None and spec_of(quant) == spec:
                return node.output
    return None


def erase_quant(value: Value) -> None:
    """Erase the quant that makes `value` if nobody reads it, and the one whose rest it rounds."""
    quant = value.producer
    if quant is None or not is_quant(quant) or value.is_read:
        return
    coarse = quant.input(1)
    value.graph.erase(quant)
    if coarse is not None:
        erase_quant(coarse)


def bias_add_candidate(node: Node) -> Node | None:
    """The Add that can carry the bias of a MatMul: its only reader, `MatMul + [N]` in this order of operands.

    N is the number of output channels; a bias that broadcasts (length 1) or has more dimensions does not
    count.
    """
    if node.op != "MatMul" or node.domain or not node.output.has_one_use:
        return None
    add = node.output.uses[0].node
    if add.op != "Add" or add.domain or add.graph is not node.graph:
        return None
    other = add.input(1)  # no constant where the MatMul itself is input 1
    bias = None if other is None else unquantized(other).constant
    if bias is None or bias.shape != (_channels(node),):
        return None
    return add


def _channels(matmul: Node) -> int | None:
    """The length of the last dimension of a MatMul's result; None when it is unknown."""
    weight = matmul.input(1)
    shape = None if weight is None else unquantized(weight).tensor.shape
    last = shape[-1] if shape is not None and len(shape) > 1 else None
    return last if isinstance(last, int) else None


def bias_add(node: Node) -> Node | None:
    """The Add whose input 1 is the int32 bias of a quantized MatMul, or None."""
    add = bias_add_candidate(node)
    quant = None if add is None else operand_precision(add, 1)
    return add if quant is not None and quant.qtype is DType.I32 else None


def quantized_layers(graph: Graph) -> tuple[Node, ...]:
    """The layers that read a quantized activation, or weight, in running order (subgraphs stay float).

    Ops that only read integers and compute in float are no layers, see `quantized_tensors`.
    """
    return tuple(
        node
        for node in graph.nodes
        if node.op not in TENSOR_OPS
        and not is_quant(node)
        and (any(map(_is_quantized_activation, node.inputs)) or any(map(_is_quantized, node.inputs[1:])))
    )


def quantized_tensors(graph: Graph) -> tuple[Use, ...]:
    """Readings of a quantized activation by ops that do not compute with integers, in running order."""
    return tuple(
        Use(node, i)
        for node in graph.nodes
        if node.op in TENSOR_OPS and not node.domain
        for i, value in enumerate(node.inputs)
        if _is_quantized_activation(value)
    )


def _is_quantized(value: Value | None) -> bool:
    quant = quant_of(value)
    return quant is not None and spec_of(quant).qtype is not DType.I32


def _is_quantized_activation(value: Value | None) -> bool:
    return value is not None and _is_quantized(value) and unquantized(value).constant is None
