"""Letting the readers of a value read an equal one, so that graph outputs keep their names and types."""

from __future__ import annotations

from qir.frontends.onnx.types import merge_types
from qir.ir.node import Value
from qir.ir.types import TensorType


def can_forward(old: Value, new: Value) -> bool:
    """True when `old` can vanish in favour of the equal `new` without an Identity to keep an output's name.

    A graph output lives on when `new` can take its name: an intermediate value of the same graph that is not
    itself an output.
    """
    if not old.is_output:
        return True
    return (
        new.producer is not None and new.graph is old.graph and not new.is_output and old in old.graph.outputs
    )


def forward(old: Value, new: Value) -> bool:
    """Let the readers of `old` read the equal `new`; True when that moved anything.

    Where `can_forward` is false the graph goes on returning `old`, and only its other readers move. What was
    known of the type of either value is known of `new` afterwards, unless that is an input: what a model
    takes is its author's to say.
    """
    kept = not can_forward(old, new)
    uses = old.uses
    if kept and not uses:
        return False
    renamed = old.is_output and not kept
    if not new.is_input:
        merged = merge_types(old.type, new.type) if renamed else merge_types(new.type, old.type)
        new.type = merged.with_quant(new.tensor.quant) if isinstance(merged, TensorType) else merged
    if renamed:
        old.graph.replace(old, new)
        return True
    # Unlike Graph.replace this looks at none of the readings of `new`, which may be many.
    for node, i in uses:
        node.set_input(i, new)
    return True
