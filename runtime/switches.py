"""Where quantizers act in a closed graph: the readings of operands that can be rounded or not, one by one.

A quant belongs to all its readers; whether it acts is a question of each reading, so that a node can be
quantized alone although others read the same quant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add, is_quant, quant_of, unquantized
from qir.ir.types import spec_of

Operands = Literal["all", "weight", "activation"]
"""Which quantizers of a node act."""


class Reading(NamedTuple):
    """Input `index` of a node."""

    node: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


Choice = frozenset[Reading]
"""The readings that are rounded; all others are read in float."""


@dataclass(frozen=True)
class Switchable:
    """A node with quantizers. Tensors by the readings of them; biases count with the whole node only."""

    node: str
    op: str
    result: str
    activations: dict[Reading, str]
    weights: dict[Reading, str]
    biases: tuple[Reading, ...]

    def readings(self, operands: Operands = "all") -> Choice:
        """What is rounded when these operands are quantized."""
        if operands == "weight":
            return frozenset(self.weights)
        if operands == "activation":
            return frozenset(self.activations)
        return frozenset((*self.weights, *self.activations, *self.biases))


def switchables(graph: Graph) -> dict[str, Switchable]:
    """The nodes with quantized operands, in running order; a MatMul and the Add of its bias are one."""
    found: dict[str, Switchable] = {}
    done: set[Node] = set()
    for node in graph.nodes:
        if is_quant(node) or node in done:
            continue
        add = bias_add(node)
        parts = [node] if add is None else [node, add]
        done.update(parts)
        made = _switchable(node, parts)
        if made.readings():
            found[node.name] = made
    return found


def _switchable(node: Node, parts: Iterable[Node]) -> Switchable:
    activations: dict[Reading, str] = {}
    weights: dict[Reading, str] = {}
    biases: list[Reading] = []
    last = node
    for part in parts:
        last = part
        for i, value in enumerate(part.inputs):
            quant = quant_of(value)
            if value is None or quant is None:
                continue
            source, reading = unquantized(value), Reading(part.name, i)
            if spec_of(quant).qtype is DType.I32:
                biases.append(reading)
            elif source.constant is not None:
                weights[reading] = source.name
            else:
                activations[reading] = source.name
    result = next((value.name for value in last.outputs if value is not None), "")
    return Switchable(node.name, node.op, result, activations, weights, tuple(biases))


def all_readings(found: Iterable[Switchable], operands: Operands = "all") -> Choice:
    """What is rounded when these operands of all these nodes are quantized."""
    return frozenset(reading for item in found for reading in item.readings(operands))
