"""The lines of IR around a node or value, for error messages."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.printer import plain_or_quoted, print_constant, print_node, print_type, value_name

_CONTEXT = 3
"""Lines shown before and after the culprit."""
_WIDTH = 200
_MARK, _INDENT = " --> ", "     "


def excerpt(graph: Graph, culprit: Node | Value) -> str:
    """A few lines of the text of `graph` with the line of the culprit marked; works for broken graphs too."""
    marked: Node | Value = culprit
    if isinstance(culprit, Value) and culprit.producer is not None:
        marked = culprit.producer
    items: tuple[Node | Value, ...] = (*graph.constants, *graph.nodes)
    inputs = ", ".join(f"{value_name(v)}: {_type(v)}" for v in graph.inputs)
    head = _cut(f"graph @{plain_or_quoted(graph.name)}({inputs}) {{")
    if marked not in items:
        if marked in graph.inputs:
            return f"{_MARK}{head}"
        return f"{_INDENT}{head}\n{_MARK}{_line(marked)}"
    place = items.index(marked)
    first, last = max(0, place - _CONTEXT), min(len(items), place + _CONTEXT + 1)
    lines = [f"{_MARK if i == place else _INDENT}  {_line(items[i])}" for i in range(first, last)]
    before = [f"{_INDENT}  …"] if first else []
    after = [f"{_INDENT}  …"] if last < len(items) else []
    return "\n".join([_INDENT + head, *before, *lines, *after])


def _line(item: Node | Value) -> str:
    try:
        if isinstance(item, Node):
            return _cut(print_node(item))
        data = "…" if item.constant is None else print_constant(item.constant)
        return _cut(f"{value_name(item)} = {data}")
    except (AttributeError, TypeError, ValueError):  # what is wrong with it may keep it from printing
        return repr(item)


def _type(value: Value) -> str:
    try:
        return print_type(value.type)
    except (AttributeError, TypeError, ValueError):
        return repr(value.type)


def _cut(line: str) -> str:
    """The first line, of a length that can be read."""
    first, _, rest = line.partition("\n")
    return f"{first[:_WIDTH]} …" if rest or len(first) > _WIDTH else first
