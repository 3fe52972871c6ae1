"""Reading small constants, and putting new data into them without touching other readers."""

from __future__ import annotations

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.node import Node, Value


def integers(value: Value | None) -> tuple[int, ...] | None:
    """The elements of a constant integer tensor in row-major order; None for anything else."""
    held = None if value is None else value.constant
    if held is None or not held.dtype.is_integer or held.dtype.numpy is None:
        return None
    return tuple(int(n) for n in held.array.reshape(-1))


def truth(value: Value) -> bool | None:
    """The truth of a constant boolean of one element; None for anything else."""
    held = value.constant
    if held is None or held.dtype is not DType.BOOL or held.size != 1:
        return None
    return bool(held.array.reshape(-1)[0])


def write_operand(node: Node, i: int, data: Constant, name: str) -> None:
    """Make constant `data` input `i` of `node`, which may have had a constant there.

    A constant read by this node alone takes the data and keeps its name; one with other readers stays as it
    is, and the node gets a constant of its own called `name` (made unique).
    """
    old = node.input(i)
    if old is not None and old.constant is not None and old.has_one_use:
        old.constant, old.type = data, data.type
        return
    graph = node.graph
    assert graph is not None
    node.set_input(i, graph.constant(data, name))
