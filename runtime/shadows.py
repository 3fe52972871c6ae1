"""Variants of one graph side by side: beside each node its copies with other operands rounded, in one graph.

What no rounded operand leads to is computed once for all variants.
"""

from __future__ import annotations

from collections.abc import Sequence

from qir.ir.clone import clone_attribute
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant, quant_of, unquantized
from qir.ir.types import UNKNOWN
from qir.ir.walk import readings
from qir.runtime.rounder import DOMAIN, Rounder, closed_precision
from qir.runtime.switches import Choice, Reading

Names = dict[str, str]
"""Float values by name, and what stands for them in a variant, but for those that it leaves as they are."""


def with_shadows(graph: Graph, choices: Sequence[Choice]) -> tuple[Graph, list[Names]]:
    """A copy of a closed graph in float, with a variant for each choice of readings that are rounded.

    The graph is left as it is. PassError for a quant that is to round and is still open.
    """
    copy = graph.clone()
    copy.opsets.setdefault(DOMAIN, 1)
    for i, output in enumerate(copy.outputs):
        copy.set_output(i, unquantized(output))
    shadows = _Shadows(copy, len(choices))
    for node in copy.nodes:
        if not is_quant(node):
            for variant, choice in enumerate(choices):
                shadows.add(node, variant, choice)
            for i, value in enumerate(node.inputs):
                if value is not None:
                    node.set_input(i, unquantized(value))
    for node in reversed(copy.nodes):
        if is_quant(node) and not node.output.is_read:
            copy.erase(node)
    return copy, [{a.name: b.name for a, b in made.items()} for made in shadows.made]


class _Shadows:
    """Copies nodes of one graph; `made` has by variant what stands for a value."""

    def __init__(self, graph: Graph, variants: int) -> None:
        self._graph, self._rounder = graph, Rounder(graph)
        self.made: list[dict[Value, Value]] = [{} for _ in range(variants)]

    def add(self, node: Node, variant: int, choice: Choice) -> None:
        """Copy a node for a variant in which it computes on other numbers; it must still read its quants."""
        made = self.made[variant]
        inputs = [self._operand(node, i, made, choice) for i in range(len(node.inputs))]
        plain = [None if value is None else unquantized(value) for value in node.inputs]
        if inputs == plain and not any(value in made for value in readings(node)):
            return
        copy = self._graph.add(
            node.op,
            inputs,
            domain=node.domain,
            name=self._graph.unique_node_name(f"{node.name}.{variant}"),
            outputs=[
                None if v is None else self._graph.unique_value_name(f"{v.name}.{variant}")
                for v in node.outputs
            ],
            types=[UNKNOWN if v is None else v.type for v in node.outputs],
            before=node,
        )
        copy.attributes = {
            key: clone_attribute(item, self._graph, dict(made)) for key, item in node.attributes.items()
        }
        made.update(
            (a, b) for a, b in zip(node.outputs, copy.outputs, strict=True) if a is not None and b is not None
        )

    def _operand(self, node: Node, i: int, made: dict[Value, Value], choice: Choice) -> Value | None:
        value = node.inputs[i]
        if value is None:
            return None
        plain = unquantized(value)
        source = made.get(plain, plain)
        if quant_of(value) is None or Reading(node.name, i) not in choice:
            return source
        return self._rounder.round(source, closed_precision(value, node), node)
