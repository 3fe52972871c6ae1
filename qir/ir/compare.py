"""Structural comparison of graphs: the first difference, as a sentence."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList, Node, Value


def difference(left: Graph, right: Graph) -> str | None:
    """How `right` differs from `left`, or None when they are equal in everything that text shows.

    Names, order, types, attributes (floats to the bit), metadata and the digests of constants count, and the
    edges. Compares the structure itself, not its text.
    """
    return _graphs(left, right, {})


def _graphs(left: Graph, right: Graph, same: dict[Value, Value]) -> str | None:
    """`same` maps values of `left` and the graphs around it to those of `right`."""
    where = f"graph '{left.name}'"
    found = (
        _unequal(where, "name", left.name, right.name)
        or _unequal(where, "opsets", left.opsets, right.opsets)
        or _unequal(where, "metadata", left.metadata, right.metadata)
        or _values(where, "inputs", left.inputs, right.inputs, same)
        or _values(where, "constants", left.constants, right.constants, same)
        or _unequal(where, "number of nodes", len(left.nodes), len(right.nodes))
    )
    for one, other in zip(left.nodes, right.nodes, strict=False):
        found = found or _nodes(one, other, same)
    return found or _edges(where, "outputs", left.outputs, right.outputs, same)


def _unequal(where: str, what: str, left: object, right: object) -> str | None:
    return None if left == right else f"{where}: the {what}: {left!r} became {right!r}"


def _values(
    where: str,
    what: str,
    left: Sequence[Value | None],
    right: Sequence[Value | None],
    same: dict[Value, Value],
) -> str | None:
    """Compares definitions, and pairs them."""
    found = _unequal(where, what, [v and v.name for v in left], [v and v.name for v in right])
    if found:
        return found
    for one, other in zip(left, right, strict=True):
        if one is not None and other is not None:
            same[one] = other
            found = _unequal(where, f"type of '{one.name}'", one.type, other.type)
            found = found or _unequal(where, f"data of '{one.name}'", one.constant, other.constant)
            if found:
                return found
    return None


def _edges(
    where: str,
    what: str,
    left: Sequence[Value | None],
    right: Sequence[Value | None],
    same: dict[Value, Value],
) -> str | None:
    """Compares readings: of the same values as paired before."""
    if [v and same.get(v) for v in left] == list(right):
        return None
    return f"{where}: the {what}: {list(left)!r} became {list(right)!r}"


def _nodes(left: Node, right: Node, same: dict[Value, Value]) -> str | None:
    where = f"node '{left.name}' ({left.op})"
    found = (
        _unequal(where, "name", left.name, right.name)
        or _unequal(where, "op", (left.domain, left.op), (right.domain, right.op))
        or _unequal(where, "metadata", left.metadata, right.metadata)
        or _unequal(where, "attribute names", sorted(left.attributes), sorted(right.attributes))
        or _edges(where, "inputs", left.inputs, right.inputs, same)
    )
    for key in sorted(left.attributes):
        found = found or _attributes(where, key, left.attributes[key], right.attributes[key], same)
    return found or _values(where, "outputs", left.outputs, right.outputs, same)


def _attributes(
    where: str, key: str, left: Attribute, right: Attribute, same: dict[Value, Value]
) -> str | None:
    if isinstance(left, Graph) and isinstance(right, Graph):
        return _graphs(left, right, same)
    if type(left) is not type(right):
        return _unequal(where, f"type of attribute '{key}'", type(left).__name__, type(right).__name__)
    if isinstance(left, tuple) and isinstance(right, tuple) and not isinstance(left, EmptyList):
        found = _unequal(where, f"length of attribute '{key}'", len(left), len(right))
        for one, other in zip(left, right, strict=False):
            found = found or _attributes(where, key, one, other, same)
        return found
    if isinstance(left, float) and isinstance(right, float):
        same_bits = struct.pack("<d", left) == struct.pack("<d", right)
        return None if same_bits else f"{where}: the attribute '{key}': {left!r} became {right!r}"
    return _unequal(where, f"attribute '{key}'", left, right)
