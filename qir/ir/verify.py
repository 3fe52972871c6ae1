"""Checks the structure and the types of a graph; an error shows the IR with the culprit marked.

A graph is right when
  - names are unique in their graph, and no value of a subgraph hides one of the graphs around it,
  - every value and node belongs to the graph that holds it, and the two directions of every edge agree,
  - a value is defined before it is read, in its own graph or in one around it (so there are no cycles),
  - a graph returns values that it can read, and a subgraph names the graph around it as its parent,
  - types, constants, attributes and quants keep the rules of `rules.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qir.ir.errors import ModelError, VerifyError
from qir.ir.excerpt import excerpt
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant
from qir.ir.rules import attribute_problems, constant_problems, quant_node_problems, type_problems
from qir.ir.walk import sorted_nodes


def verify(graph: Graph) -> None:
    """Check a graph with all its subgraphs in time linear in its size; VerifyError on the first broken rule.

    A subgraph may be checked by itself: the values of the graphs around it count as defined.
    """
    _Verifier().run(graph)


class _Verifier:
    """Walks the graph once in running order, then looks at the uses of every value."""

    def __init__(self) -> None:
        self.defined: set[Value] = set()
        self.graphs: dict[Graph, None] = {}

    def run(self, graph: Graph) -> None:
        around = graph.parent
        while around is not None:
            self.defined.update(around.values())
            around = around.parent
        self.graph(graph)
        for each in self.graphs:
            for value in each.values():
                self.uses(each, value)

    def graph(self, graph: Graph) -> None:
        if graph in self.graphs:
            raise VerifyError(f"graph '{graph.name}' is held twice, by two attributes; clone it")
        self.graphs[graph] = None
        around = _graphs_around(graph)
        self.header(graph)
        for i, value in enumerate(graph.inputs):
            self.value(graph, value, value)
            if value.producer is not None or value.constant is not None or value.index != i:
                raise _error(
                    graph, value, f"'{value.name}' is not input {i} of the graph that lists it there"
                )
        for value in graph.constants:
            self.value(graph, value, value)
            for problem in constant_problems(value):
                raise _error(graph, value, problem)
        for node in graph.nodes:
            self.node(graph, node, around)
        for i, value in enumerate(graph.outputs):
            if (graph, i) not in value._uses:
                raise _error(
                    graph, value, f"'{value.name}' is returned, but does not list the graph as a reader"
                )
            missing = self.unreadable(value, around)
            if missing:
                raise _error(graph, value, f"output {i} of graph '{graph.name}' {missing}")

    def header(self, graph: Graph) -> None:
        texts: list[object] = [graph.name, *graph.metadata, *graph.metadata.values(), *graph.opsets]
        for text in texts:
            if not isinstance(text, str):
                raise VerifyError(
                    f"names, metadata and domains of graph '{graph.name}' are text, not {text!r}"
                )
        for domain, version in graph.opsets.items():
            if not isinstance(version, int):
                raise VerifyError(f"the opset of domain '{domain}' is a whole number, not {version!r}")

    def value(self, graph: Graph, value: Value, culprit: Node | Value) -> None:
        """The rules of a value where it is defined; it counts as defined from here on."""
        if value.graph is not graph or not graph.owns(value):
            raise _error(graph, culprit, f"'{value.name}' is not registered in graph '{graph.name}'")
        if not value.name:
            raise _error(graph, culprit, "a value has an empty name, which ONNX keeps for absent values")
        if graph.parent is not None and graph.parent.visible(value.name) is not None:
            raise _error(
                graph, culprit, f"'{value.name}' hides a value of that name in a graph around; rename it"
            )
        for problem in type_problems(value.type):
            raise _error(graph, culprit, f"'{value.name}': {problem}")
        if isinstance(culprit, Value) and value.tensor.quant is not None:
            raise _error(
                graph, culprit, f"'{value.name}' is quantized, but only a qir.quant quantizes a value"
            )
        self.defined.add(value)

    def node(self, graph: Graph, node: Node, around: Mapping[Graph, None]) -> None:
        for problem in self.node_problems(graph, node, around):
            raise _error(graph, node, f"node '{node.name}' ({node.op}): {problem}")
        for subgraph in node.subgraphs:
            self.graph(subgraph)
        for value in node.outputs:
            if value is not None:
                self.value(graph, value, node)
        if is_quant(node):
            for problem in quant_node_problems(node):
                raise _error(graph, node, f"node '{node.name}' ({node.op}): {problem}")

    def node_problems(self, graph: Graph, node: Node, around: Mapping[Graph, None]) -> Iterator[str]:
        if node.graph is not graph or not graph.owns(node):
            yield f"it stands in graph '{graph.name}', which does not know its name"
        if not node.op:
            yield "it has no op"
        for i, value in enumerate(node.inputs):
            if value is None:
                continue
            if (node, i) not in value._uses:
                yield f"it reads '{value.name}' as input {i}, but the value does not list it as a reader"
            problem = self.unreadable(value, around)
            if problem:
                yield f"input {i} {problem}"
        for key, item in node.attributes.items():
            yield from attribute_problems(key, item)
        for pair in node.metadata.items():
            if not all(isinstance(text, str) for text in pair):
                yield f"metadata are text, not {pair!r}"
        for subgraph in node.subgraphs:
            if subgraph.parent is not graph:
                yield f"its subgraph '{subgraph.name}' has another parent than graph '{graph.name}'"
        for i, value in enumerate(node.outputs):
            if value is not None and (value.producer is not node or value.index != i or value.constant):
                yield f"'{value.name}', its output {i}, does not point back at it"
            if value is not None and value.tensor.quant is not None and not is_quant(node):
                yield f"'{value.name}' is quantized, but only a qir.quant quantizes a value"

    def unreadable(self, value: Value, around: Mapping[Graph, None]) -> str | None:
        """Why `value` cannot be read at this point of `graph`; None when it can."""
        if value.graph not in around:
            return f"is '{value.name}' of graph '{value.graph.name}', which is not around it"
        if not value.graph.owns(value):
            return f"is '{value.name}', which was erased"
        if value in self.defined:
            return None
        try:
            sorted_nodes(value.graph)
        except ModelError as error:
            return f"is '{value.name}', which is not yet defined there: {error}"
        return f"is '{value.name}', which is defined later; sort_nodes brings the nodes into order"

    def uses(self, graph: Graph, value: Value) -> None:
        """Every reader that a value lists must read it, and be part of the graph."""
        for user, i in value._uses:
            if isinstance(user, Graph):
                outputs = user.outputs
                if user not in self.graphs or i >= len(outputs) or outputs[i] is not value:
                    raise _error(
                        graph, value, f"'{value.name}' lists output {i} of '{user.name}' as a reader in vain"
                    )
            elif user.input(i) is not value:
                raise _error(
                    graph, value, f"'{value.name}' lists input {i} of '{user.name}' as a reader in vain"
                )
            elif user.graph is None or user.graph not in self.graphs or not user.graph.owns(user):
                raise _error(
                    graph,
                    value,
                    f"'{value.name}' is read by node '{user.name}', which is not part of the graph; "
                    "release() a subgraph that is thrown away",
                )


def _graphs_around(graph: Graph) -> dict[Graph, None]:
    found: dict[Graph, None] = {}
    around: Graph | None = graph
    while around is not None:
        found[around] = None
        around = around.parent
    return found


def _error(graph: Graph, culprit: Node | Value, sentence: str) -> VerifyError:
    return VerifyError(f"{sentence}\n{excerpt(graph, culprit)}")
