"""Removes nodes that return their first input unchanged.

Identity; Dropout in inference; Cast to the type that the value has; Reshape and Flatten to the shape that it
has; Transpose that moves nothing; Pad by nothing; Slice of everything; Expand and Tile to the same shape;
Concat, Sum, Max, Min and Mean of one value. A node stays where a graph output needs it to keep its name apart
from its source's, and where its source is a quant: whoever reads that itself computes in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import quant_of
from qir.ir.walk import walk_graphs
from qir.passes.base import Pass
from qir.passes.constants import integers, truth
from qir.passes.context import Context, RewriteLog
from qir.passes.rewiring import can_forward, forward

_WHOLE = 2**31 - 1
"""Slice ends from this on reach the end of any dimension: exporters write INT_MAX of either width."""


@dataclass(frozen=True)
class EliminateIdentity(Pass):
    """Remove nodes that return their input unchanged: Identity, Dropout, no-op Cast, Reshape, Pad, …."""

    name: ClassVar[str] = "eliminate-identity"

    def run(self, graph: Graph, context: Context) -> bool:
        """Also in subgraphs. What depends on shapes or element types finds more after `infer-types`."""
        return eliminate_identity(graph, context.rewrites)


def eliminate_identity(graph: Graph, log: RewriteLog) -> bool:
    """Let readers of such a node read its input, and erase it unless a graph output needs it.

    What was known of the type of an erased node's result is known of its source then, and may show that the
    nodes around it are identities as well: these are looked at once more.
    """
    changed = False
    for inner in walk_graphs(graph):
        waiting = list(reversed(inner.nodes))
        while waiting:
            node = waiting.pop()
            source = node.input(0)
            if node.graph is None or source is None or quant_of(source) or not returns_first_input(node):
                continue
            known = source.type
            changed |= _bypass(node.graph, node, source, log)
            if source.type != known:
                waiting += [use.node for use in source.uses]
                waiting += [] if source.producer is None else [source.producer]
    return changed


def _bypass(graph: Graph, node: Node, source: Value, log: RewriteLog) -> bool:
    """Let readers of an identity read its source; True when that changed anything."""
    stays = not can_forward(node.output, source)
    moved = forward(node.output, source)
    if stays:
        log.refused(EliminateIdentity.name, node.name, _reason(node.output, source))
    else:
        graph.erase(node)
    if moved or not stays:
        log.applied(EliminateIdentity.name, node.name)
    return moved or not stays


def _reason(output: Value, source: Value) -> str:
    what = "is a graph output too" if source.is_output else "cannot take that name"
    return f"it gives graph output '{output.name}' its name; its source '{source.name}' {what}"


def returns_first_input(node: Node) -> bool:
    """True when output 0 certainly equals input 0 and no other output is read."""
    rule = _RULES.get(node.op) if node.domain == "" else None
    others_unread = all(v is None or not v.is_read for v in node.outputs[1:])
    return (
        rule is not None
        and bool(node.outputs)
        and node.outputs[0] is not None
        and others_unread
        and rule(node)
    )


def _always(_: Node) -> bool:
    return True


def _single(node: Node) -> bool:
    return len(node.inputs) == 1


def _dropout(node: Node) -> bool:
    """Before opset 12 inference is all there is; since then input 2 may switch to training."""
    mode = node.input(2)
    return mode is None or truth(mode) is False


def _cast(node: Node) -> bool:
    source = _first(node).tensor
    return source.dtype is not None and source.dtype is node.output.tensor.dtype


def _reshape(node: Node) -> bool:
    target = integers(node.input(1))
    rank = _rank(_first(node))
    if target is not None and len(target) == rank and not node.attributes.get("allowzero"):
        copied = sum(d == 0 for d in target)
        if copied == rank or (copied == rank - 1 and -1 in target):
            return True
    return _same_elements(node)


def _same_elements(node: Node) -> bool:
    """True when the shapes agree, given that input and output have equally many elements.

    Then one dimension may be unknown on either side: the others, known, equal and not 0, determine it.
    """
    before, after = _first(node).tensor.shape, node.output.tensor.shape
    if before is None or after is None or len(before) != len(after):
        return False
    open_dims = sum(not (isinstance(a, int) and a == b) for a, b in zip(before, after, strict=True))
    if open_dims == 0:
        return True
    differ = any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(before, after, strict=True)
    )
    return open_dims == 1 and not differ and 0 not in before


def _same_static_shape(node: Node) -> bool:
    before = _first(node).tensor.static_shape
    return before is not None and before == node.output.tensor.static_shape


def _transpose(node: Node) -> bool:
    perm, rank = node.attributes.get("perm"), _rank(_first(node))
    if perm is None:  # reverses the dimensions
        return rank is not None and rank <= 1
    return isinstance(perm, tuple) and list(perm) == list(range(len(perm)))


def _pad(node: Node) -> bool:
    """Opset 11 made the amounts input 1; before they are an attribute."""
    pads = node.attributes.get("pads")
    amounts = pads if isinstance(pads, tuple) else integers(node.input(1))
    return amounts is not None and all(n == 0 for n in amounts)


def _slice(node: Node) -> bool:
    """Opset 10 made starts, ends, axes and steps inputs; before, starts and ends are attributes."""
    steps = node.input(4)
    if steps is not None and set(integers(steps) or (0,)) != {1}:
        return False
    starts, ends = (_integers_of(node, key, i) for i, key in enumerate(("starts", "ends"), 1))
    if starts is not None and ends is not None and not any(starts) and all(end >= _WHOLE for end in ends):
        return True
    return _same_static_shape(node)


def _integers_of(node: Node, key: str, i: int) -> tuple[int, ...] | None:
    held = node.attributes.get(key)
    if isinstance(held, tuple):
        return tuple(n for n in held if isinstance(n, int))
    return integers(node.input(i))


def _tile(node: Node) -> bool:
    repeats = integers(node.input(1))
    return repeats is not None and all(n == 1 for n in repeats)


def _first(node: Node) -> Value:
    source = node.input(0)
    assert source is not None  # checked by the caller
    return source


def _rank(value: Value) -> int | None:
    shape = value.tensor.shape
    return None if shape is None else len(shape)


_RULES: Mapping[str, Callable[[Node], bool]] = MappingProxyType(
    {
        "Cast": _cast,
        "CastLike": _cast,
        "Concat": _single,
        "Dropout": _dropout,
        "Expand": _same_static_shape,
        "Flatten": _same_elements,
        "Identity": _always,
        "Max": _single,
        "Mean": _single,
        "Min": _single,
        "Pad": _pad,
        "Reshape": _reshape,
        "Slice": _slice,
        "Sum": _single,
        "Tile": _tile,
        "Transpose": _transpose,
    }
)
