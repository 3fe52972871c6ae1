"""Merges equal constants, and nodes that compute the same from the same inputs.

What a user thinks of as a layer is never merged with another one, nor are the layers' own weights and biases
unless asked for: quantization gives each layer its own scales, and reports and skip lists call layers by
name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList, Node, Value
from qir.ir.types import MapType, OptionalType, SequenceType, SparseTensorType, TensorType
from qir.ir.walk import walk_graphs
from qir.passes.base import Pass
from qir.passes.context import Context, RewriteLog
from qir.passes.rewiring import can_forward, forward

LAYERS = frozenset({
    "Attention", "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm",
    "LSTM", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN",
})  # fmt: skip
"""Ops that users call layers and address by name."""
_NOT_REPEATABLE = frozenset({
    "Bernoulli", "Dropout", "Identity", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
"""Ops that draw random numbers, and Identity, which stands where a graph output needs a name of its own."""

_Key = tuple[object, ...]


@dataclass(frozen=True)
class MergeDuplicates(Pass):
    """Merge constants of equal content and nodes of equal op, inputs and attributes into the first of them.

    With `parameters`, equal weights and biases of layers are merged too.
    """

    name: ClassVar[str] = "merge-duplicates"
    parameters: bool = False

    def run(self, graph: Graph, context: Context) -> bool:
        """Each graph and subgraph by itself, in running order, so that chains of duplicates collapse."""
        changed = False
        for inner in walk_graphs(graph):
            changed |= merge_constants(inner, context.rewrites, self.parameters)
            changed |= merge_nodes(inner, context.rewrites)
        return changed


def merge_constants(graph: Graph, log: RewriteLog, parameters: bool = False) -> bool:
    """Let readers of equal constants read the first of them, and erase the others; True when any was merged.

    Weights and biases of layers take part only with `parameters`.
    """
    values = [v for v in graph.constants if not v.is_output and (parameters or not _is_parameter(v))]
    sizes = Counter((v.constant.dtype, v.constant.shape) for v in values if v.constant is not None)
    first: dict[Constant, Value] = {}
    changed = False
    for value in values:
        held = value.constant
        if held is None or sizes[held.dtype, held.shape] < 2:
            continue  # no need to digest megabytes that nothing can equal
        kept = first.setdefault(held, value)
        if kept is not value and kept.type == value.type:
            forward(value, kept)
            graph.erase(value)
            log.applied(MergeDuplicates.name, value.name)
            changed = True
    return changed


def _is_parameter(value: Value) -> bool:
    """True for a weight or bias of a layer, the one that is added behind a MatMul included."""
    return any((node.op in LAYERS and i > 0) or _adds_bias(node) for node, i in value.uses)


def _adds_bias(node: Node) -> bool:
    sources = [v.producer for v in node.inputs if v is not None]
    return node.op == "Add" and any(p is not None and p.op == "MatMul" for p in sources)


def merge_nodes(graph: Graph, log: RewriteLog) -> bool:
    """Let readers of a repeated computation read the first one, and erase the others; True on change."""
    first: dict[_Key, Node] = {}
    changed = False
    for node in graph.nodes:
        key = _key(node)
        kept = node if key is None else first.setdefault(key, node)
        if kept is node:
            continue
        pairs = [
            (a, b) for a, b in zip(node.outputs, kept.outputs, strict=True) if a is not None and b is not None
        ]
        if not all(can_forward(old, new) for old, new in pairs):
            log.refused(
                MergeDuplicates.name, node.name, f"it and its equal '{kept.name}' both give graph outputs"
            )
            continue
        for old, new in pairs:
            forward(old, new)
        graph.erase(node)
        log.applied(MergeDuplicates.name, node.name)
        changed = True
    return changed


def _key(node: Node) -> _Key | None:
    """Equal for nodes that compute the same; None for a node that must stay by itself."""
    if (
        node.domain != ""
        or node.op in LAYERS
        or node.op in _NOT_REPEATABLE
        or not node.outputs
        or node.subgraphs
    ):
        return None
    attributes = tuple((k, _attribute_key(node.attributes[k])) for k in sorted(node.attributes))
    present = tuple(v is not None for v in node.outputs)
    return (node.op, node.inputs, attributes, present, tuple(sorted(node.metadata.items())))


def _attribute_key(item: Attribute) -> object:
    """Equal only where the attributes mean the same; Python takes 1 for 1.0 and 0.0 for -0.0."""
    if isinstance(item, EmptyList):
        return ("empty", item.kind)
    if isinstance(item, tuple):
        return tuple(_attribute_key(x) for x in item)
    if isinstance(item, float):
        return ("float", item.hex())
    if isinstance(item, (Constant, TensorType, SparseTensorType, SequenceType, OptionalType, MapType)):
        return item
    return (type(item).__name__, item)
