"""Which nodes can be computed before the model runs, within a bound on what that stores."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.passes.constants import truth

_NEVER = frozenset({
    "Bernoulli", "Constant", "DequantizeLinear", "DynamicQuantizeLinear", "Multinomial", "Optional",
    "QuantizeLinear", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "SequenceConstruct", "SequenceEmpty", "SplitToSequence",
})  # fmt: skip
"""Ops that draw random numbers, say how something is quantized, or give no tensor; and Constant itself."""
_AS_LARGE_AS_INPUT = frozenset({"Compress", "NonZero", "Unique"})
"""Ops whose shape depends on the content, with at most as many elements (times the rank) as input 0."""
_CAST_GROWTH = 4
"""The result of a Cast may be this many times as large as the constant that it replaces: int8 to float32."""
_LARGEST_ELEMENT = 16
_STRING_BYTES = 64


@dataclass
class Candidates:
    """The nodes of one graph to compute, in running order, and those left for the size of their result.

    `unsized` are nodes whose result has an unknown size; `too_large` maps nodes to the bytes of theirs.
    """

    nodes: list[Node] = field(default_factory=list)
    unsized: list[Node] = field(default_factory=list)
    too_large: dict[Node, int] = field(default_factory=dict)


def candidates(graph: Graph, max_bytes: int, excluded: Collection[Node] = ()) -> Candidates:
    """The nodes of `graph` (not of its subgraphs) that depend on constants alone, without `excluded` ones.

    A result counts as too large when it has more than `max_bytes` and more than the constants that it
    replaces, which are those that nobody else reads; a Cast may grow as element types do. The bound is
    checked on types, so nothing large is ever computed to be thrown away.
    """
    found = Candidates()
    computed: dict[Value, int] = {}  # bytes of results that will be constants
    for node in graph.nodes:
        if node in excluded or not _is_computable(node):
            continue
        if any(v is not None and v.constant is None and v not in computed for v in node.inputs):
            continue
        size = result_bytes(node)
        if size is None:
            found.unsized.append(node)
            continue
        replaced = sum(
            _bytes_of(v, computed) for v in dict.fromkeys(node.inputs) if v is not None and v.has_one_use
        )
        if size > max(max_bytes, replaced * (_CAST_GROWTH if node.op == "Cast" else 1)):
            found.too_large[node] = size
            continue
        found.nodes.append(node)
        computed.update((v, size) for v in node.outputs if v is not None)
    return found


def _is_computable(node: Node) -> bool:
    if node.domain != "" or node.op in _NEVER or node.op.startswith("QLinear") or node.subgraphs:
        return False
    mode = node.input(2) if node.op == "Dropout" else None
    if mode is not None and truth(mode) is not False:
        return False  # Dropout in training
    outputs = [v for v in node.outputs if v is not None]
    return bool(node.inputs) and any(v.is_read for v in outputs) and all(_is_tensor(v) for v in outputs)


def _is_tensor(value: Value) -> bool:
    return isinstance(value.type, TensorType)


def _bytes_of(value: Value, computed: dict[Value, int]) -> int:
    return computed[value] if value.constant is None else value.constant.data.nbytes


def result_bytes(node: Node) -> int | None:
    """An upper bound on the bytes of all outputs of `node`; None when their types do not say."""
    total = 0
    for value in node.outputs:
        if value is None:
            continue
        elements = _elements(node, value)
        if elements is None:
            return None
        total += elements * _element_bytes(value.tensor.dtype)
    return total


def _elements(node: Node, value: Value) -> int | None:
    source = node.input(0)
    shape, given = value.tensor.static_shape, source.tensor.static_shape if source is not None else None
    if shape is not None:
        return math.prod(shape)
    if node.op in _AS_LARGE_AS_INPUT and given is not None:
        return math.prod(given) * max(len(given), 1)
    return None


def _element_bytes(dtype: DType | None) -> int:
    if dtype is None:
        return _LARGEST_ELEMENT
    return _STRING_BYTES if dtype is DType.STR else (dtype.bits + 7) // 8
