"""Segments of a float graph in which nodes have quantized forms that an input of the session switches on.

A node becomes an If for each of its forms: one branch reads rounded operands, the other floats. Only the
branch that is chosen is computed, so that one session serves any group of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qir.ir.clone import clone_attribute
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.runtime.rounder import DOMAIN, Rounder, closed_precision
from qir.runtime.session import Session
from qir.runtime.switches import Choice
from qir.runtime.units import Array

Forms = Mapping[str, Sequence[Choice]]
"""The quantized forms of nodes by name: for each the inputs that are rounded."""
_SWITCH = TensorType(DType.BOOL, ())


class Switched:
    """A part of a float graph in a session, with a switch for each quantized form of its nodes."""

    def __init__(self, part: Graph, closed: Graph, forms: Forms) -> None:
        """`part` becomes the session's own; the quants of `closed` say how operands are rounded."""
        self._switches: dict[tuple[str, Choice], str] = {}
        part.opsets.setdefault(DOMAIN, 1)
        for node in part.nodes:
            if forms.get(node.name):
                self._add_switches(part, node, closed.node(node.name), forms[node.name])
        self._session = Session(part, threads=1, shared=True)
        self.stop = self._session.stop

    def run(self, values: Mapping[str, Array], choices: Mapping[str, Choice]) -> dict[str, Array]:
        """What the part gives when nodes have the forms that `choices` name; all others compute in float."""
        feeds = {name: values[name] for name in self._session.inputs if name in values}
        for (node, form), switch in self._switches.items():
            feeds[switch] = np.asarray(choices.get(node) == form)
        return self._session.run(feeds, self._session.outputs)

    def _add_switches(self, part: Graph, node: Node, model: Node, forms: Sequence[Choice]) -> None:
        """Put Ifs in the place of a node; `model` is the same node with quants."""
        conditions = []
        for form in forms:
            switch = part.unique_value_name(f"{node.name}.switch")
            conditions.append(part.add_input(switch, _SWITCH))
            self._switches[node.name, form] = switch
        chosen = _choose(part, node, model, list(zip(conditions, forms, strict=True)), node)
        made = (value for value in node.outputs if value is not None)
        for old, new in zip(made, chosen.outputs, strict=True):
            assert new is not None
            part.replace(old, new)
        part.erase(node)


def _choose(
    graph: Graph, node: Node, model: Node, cases: Sequence[tuple[Value, Choice]], before: Node | None
) -> Node:
    """An If in `graph`: the first form whose condition holds, and the float node when none does."""
    (condition, form), others = cases[0], cases[1:]
    chosen = _branch(graph, node, model, form)
    if others:
        otherwise = Graph("otherwise", graph.opsets, graph)
        inner = _choose(otherwise, node, model, others, None)
        for value in inner.outputs:
            assert value is not None
            otherwise.add_output(value)
    else:
        otherwise = _branch(graph, node, model, frozenset())
    made = [value for value in node.outputs if value is not None]
    name = graph.unique_node_name(f"{node.name}.if")
    return graph.add(
        "If",
        [condition],
        name=name,
        outputs=[graph.unique_value_name(f"{value.name}.if") for value in made],
        types=[value.type for value in made],
        attributes={"then_branch": chosen, "else_branch": otherwise},
        before=before,
    )


def _branch(parent: Graph, node: Node, model: Node, form: Choice) -> Graph:
    """The node as a graph within `parent`, with the operands of `form` rounded; constants are its own."""
    branch = Graph("branch", parent.opsets, parent)
    rounder = Rounder(branch)
    rounded = {index for name, index in form if name == node.name}
    inputs: list[Value | None] = []
    for i, value in enumerate(node.inputs):
        quant = model.input(i)
        if value is not None and quant is not None and i in rounded:
            value = rounder.round(value, closed_precision(quant, model), None)
        elif value is not None and value.constant is not None:
            value = branch.constant(value.constant, value.name)
        inputs.append(value)
    made = [None if v is None else branch.unique_value_name(f"{v.name}.branch") for v in node.outputs]
    copy = branch.add(
        node.op,
        inputs,
        domain=node.domain,
        name=branch.unique_node_name(f"{node.name}.branch"),
        outputs=made,
        types=[TensorType() if v is None else v.type for v in node.outputs],
    )
    copy.attributes = {key: clone_attribute(item, branch, {}) for key, item in node.attributes.items()}
    for value in copy.outputs:
        if value is not None:
            branch.add_output(value)
    return branch
