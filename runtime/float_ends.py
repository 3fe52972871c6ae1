"""Where a model that returns no floats can be compared: at the float values behind its classes or indices.

Segmentation nets and classifiers often end in ArgMax or TopK: an integer that stays says nothing of how far
quantization has moved the scores it was made of.
"""

from __future__ import annotations

from collections.abc import Iterator

from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import unquantized
from qir.ir.region import extract
from qir.ir.types import TensorType
from qir.ir.walk import readings

_OF_SHAPES = frozenset({"Shape", "Size"})
"""Operators whose integers do not depend on the numbers that they read."""


def with_float_outputs(graph: Graph) -> Graph:
    """The graph itself when it may return floats; else a part that returns the last ones before its outputs.

    A graph of which nothing in floats is known comes back as it is. Element types must be inferred.
    """
    if any(_may_be_float(value) for value in graph.outputs):
        return graph
    ends = dict.fromkeys(_last_floats(graph))
    return extract(graph, graph.nodes, tuple(ends)) if ends else graph


def _last_floats(graph: Graph) -> Iterator[Value]:
    """The nearest values before the outputs that may be floats, nodes of `graph` make, and numbers decide."""
    waiting, seen = list(reversed(graph.outputs)), set(graph.outputs)
    while waiting:
        value = unquantized(waiting.pop())
        node = value.producer
        if node is None or node.graph is not graph:
            continue
        if _may_be_float(value):
            yield value
        elif node.op not in _OF_SHAPES:
            new = [read for read in dict.fromkeys(readings(node)) if read not in seen]
            seen.update(new)
            waiting += reversed(new)


def _may_be_float(value: Value) -> bool:
    kind = value.type
    return not isinstance(kind, TensorType) or kind.dtype is None or kind.dtype.is_float
