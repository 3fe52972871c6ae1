"""Questions about the quants of a graph: which precision an operand has, and which layers are quantized."""

from __future__ import annotations

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.types import Quant, QuantSpec, spec_of

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
    """The quantization of a value made by a quant node; None for every other value."""
    if value is None or value.producer is None or not is_quant(value.producer):
        return None
    return value.tensor.quant


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


def operand_precision(node: Node, i: int) -> Quant | None:
    """How input `i` of a node is quantized; None when it is read in float (or absent)."""
    return quant_of(node.input(i))


def find_quant(value: Value, spec: QuantSpec) -> Value | None:
    """The quantized form of `value` under `spec` (open or closed) in its own graph, if there is one."""
    for node, _ in value.uses:
        if is_quant(node) and node.graph is value.graph:
            quant = node.output.tensor.quant
            if quant is not None and spec_of(quant) == spec:
                return node.output
    return None


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
    return add if quant is not None and spec_of(quant).qtype is DType.I32 else None


def quantized_layers(graph: Graph) -> tuple[Node, ...]:
    """The layers that read a quantized activation as input 0, in running order (subgraphs stay float).

    Ops that only read integers and compute in float are no layers, see `quantized_tensors`.
    """
    return tuple(
        node
        for node in graph.nodes
        if node.op not in TENSOR_OPS and not is_quant(node) and _is_quantized_activation(node.input(0))
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


def _is_quantized_activation(value: Value | None) -> bool:
    quant = quant_of(value)
    if value is None or quant is None or unquantized(value).constant is not None:
        return False
    return spec_of(quant).qtype is not DType.I32
