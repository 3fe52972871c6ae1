"""Counts the multiply-accumulates of nodes: the weight of a layer in reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from qir.ir.node import Node, Value
from qir.ir.quants import unquantized

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes seen in a run, by value name; they stand in where a type does not say."""

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def macs(node: Node, shapes: Shapes | None = None) -> int | None:
    """Multiply-accumulates of one run of `node`: 0 without matrix products, None for unknown shapes.

    A dimension that the types leave open is taken from `shapes`; a first dimension that stays unknown counts
    as 1. Bodies of If, Loop and Scan count by their own nodes, one pass each.
    """
    count = _COUNTS.get(node.op) if node.domain in ("", "ai.onnx") else None
    return 0 if count is None else count(node, shapes or {})


def _shape(value: Value | None, shapes: Shapes) -> tuple[int, ...] | None:
    """The shape of a value; unknown only when its rank is, or a dimension other than the first."""
    if value is None:
        return None
    source = unquantized(value)
    known, seen = source.tensor.shape, shapes.get(source.name)
    if known is None:
        return seen
    filled: list[int] = []
    for i, dim in enumerate(known):
        if isinstance(dim, int):
            filled.append(dim)
        elif seen is not None and len(seen) == len(known):
            filled.append(seen[i])
        elif i == 0:
            filled.append(1)
        else:
            return None
    return tuple(filled)


def _conv(node: Node, shapes: Shapes) -> int | None:
    """Each output element sums Cin/groups * k… products."""
    weight, result = _shape(node.input(1), shapes), _shape(node.output, shapes)
    return None if weight is None or result is None else math.prod(result) * math.prod(weight[1:])


def _conv_transpose(node: Node, shapes: Shapes) -> int | None:
    """Each input element is multiplied into Cout/groups * k… places."""
    weight, data = _shape(node.input(1), shapes), _shape(node.input(0), shapes)
    return None if weight is None or data is None else math.prod(data) * math.prod(weight[1:])


def _gemm(node: Node, shapes: Shapes) -> int | None:
    left, right = _shape(node.input(0), shapes), _shape(node.input(1), shapes)
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return None
    return math.prod(left) * right[0 if node.attributes.get("transB", 0) else 1]


def _matmul(node: Node, shapes: Shapes) -> int | None:
    """Each element of the result sums as many products as the left operand has columns."""
    left, right = _shape(node.input(0), shapes), _shape(node.input(1), shapes)
    if not left or not right:
        return None
    batch = [left[:-2], right[:-2]]
    size = max(len(b) for b in batch)
    padded = [(1,) * (size - len(b)) + b for b in batch]
    outer = math.prod(max(a, b) if a and b else 0 for a, b in zip(padded[0], padded[1], strict=True))
    rows = left[-2] if len(left) > 1 else 1
    columns = right[-1] if len(right) > 1 else 1
    return outer * rows * left[-1] * columns


def _recurrent(node: Node, shapes: Shapes) -> int | None:
    """Each step multiplies input and state into the gates, in every direction: X [T, B, I], W [D, G*H, I]."""
    data, weight = _shape(node.input(0), shapes), _shape(node.input(1), shapes)
    if data is None or weight is None or len(data) != 3 or len(weight) != 3:
        return None
    directions, gates, features = weight
    hidden = gates // _GATES[node.op]
    return data[0] * data[1] * directions * gates * (features + hidden)


def _attention(node: Node, shapes: Shapes) -> int | None:
    """Queries times keys, and the weights times values: each one for every position of the keys."""
    query, result = _shape(node.input(0), shapes), _shape(node.output, shapes)
    key, past = _shape(node.input(1), shapes), node.input(4)
    before = (0, 0) if past is None else _shape(past, shapes)
    if query is None or result is None or not key or not before:
        return None
    return (math.prod(query) + math.prod(result)) * (key[-2] + before[-2])


def _einsum(node: Node, shapes: Shapes) -> int | None:
    """One product for every combination of indices; 0 for a single operand, which is only summed."""
    equation = node.attributes.get("equation")
    terms = str(equation).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, node.inputs, strict=False):
        shape = _shape(operand, shapes)
        letters = term.replace("...", "")
        if shape is None or len(shape) < len(letters):
            return None
        start = term.index("...") if "..." in term else len(letters)
        hidden = len(shape) - len(letters)
        names = [*letters[:start], *(f"...{hidden - i}" for i in range(hidden)), *letters[start:]]
        for name, size in zip(names, shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


_COUNTS: Mapping[str, Callable[[Node, Shapes], int | None]] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}
