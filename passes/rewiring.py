"""Letting the readers of a value read an equal one, so that graph outputs keep their names and types."""

from __future__ import annotations

from dataclasses import replace

from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.types import UNKNOWN, Dim, TensorType, Type


def nested_graphs(graph: Graph) -> list[Graph]:
    """`graph` and all subgraphs within it, each after the graph that holds it."""
    found = [graph]
    for outer in found:  # grows while it is read: no recursion, however deep the nesting
        for node in outer.nodes:
            found += node.subgraphs
    return found


def can_forward(old: Value, new: Value) -> bool:
    """True when `old` can vanish in favour of the equal `new` without an Identity to keep an output's name.

    A graph output lives on when `new` can take its name: an intermediate value of the same graph that is not
    itself an output.
    """
    if not old.is_output:
        return True
    return (
        new.producer is not None
        and new.graph is old.graph
        and not new.is_output
        and old.graph.outputs.count(old) == 1
    )


def forward(old: Value, new: Value) -> bool:
    """Let the readers of `old` read the equal `new`; True when that moved anything.

    Where `can_forward` is false the graph goes on returning `old`, and only its other readers move. What was
    known of the type of either value is known of `new` afterwards.
    """
    kept = not can_forward(old, new)
    uses = old.uses
    if kept and not uses:
        return False
    declared = old.is_output and not kept
    merged = merge_types(old.type, new.type) if declared else merge_types(new.type, old.type)
    new.type = merged.with_quant(new.tensor.quant) if isinstance(merged, TensorType) else merged
    if kept:
        for node, i in uses:
            node.set_input(i, new)
    else:
        old.graph.replace(old, new)
    return True


def merge_types(first: Type, second: Type) -> Type:
    """What two types of one value say together; numbers win over symbols, otherwise `first` over `second`."""
    if second == UNKNOWN:
        return first
    if not isinstance(first, TensorType) or not isinstance(second, TensorType):
        return second if first == UNKNOWN else first
    shape = first.shape
    if shape is None:
        shape = second.shape
    elif second.shape is not None and len(shape) == len(second.shape):
        shape = tuple(map(_merge_dims, shape, second.shape))
    return replace(first, dtype=first.dtype or second.dtype, shape=shape)


def _merge_dims(first: Dim, second: Dim) -> Dim:
    if isinstance(first, int) or second is None:
        return first
    return second if isinstance(second, int) or first is None else first
