"""Graphs as Graphviz DOT text."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.printer import print_type
from qir.ir.quants import is_quant


def to_dot(graph: Graph) -> str:
    """DOT text: a box per node with its op and name, an edge per reading with value name and type.

    Constants stand in the box that reads them, quants are grey, subgraphs are clusters. The same graph
    gives the same text.
    """
    writer = _Writer()
    writer.graph(graph, "  ")
    head = [f"digraph {_quoted(graph.name)} {{", '  node [shape=box, fontname="sans-serif"];']
    return "\n".join([*head, *writer.boxes, *writer.edges, "}", ""])


class _Writer:
    """Collects boxes and edges apart: an edge written inside a cluster would draw both its ends into it."""

    def __init__(self) -> None:
        self.boxes: list[str] = []
        self.edges: list[str] = []
        self.names: dict[Node | Value, str] = {}
        self.count = 0

    def box(self, indent: str, label: str, style: str = "") -> str:
        """Writes a box and gives its name."""
        name = f"n{self.count}"
        self.count += 1
        self.boxes.append(f"{indent}{name} [label={label}{style}];")
        return name

    def graph(self, graph: Graph, indent: str) -> None:
        for value in graph.inputs:
            label = _label("input", value.name, print_type(value.type))
            self.names[value] = self.box(indent, label, ", shape=ellipse")
        for node in graph.nodes:
            self.node(node, indent)
        for value in graph.outputs:
            end = self.box(indent, _label("output", value.name), ", shape=ellipse")
            self.edge(value, end, indent)

    def node(self, node: Node, indent: str) -> None:
        op = f"{node.domain}.{node.op}" if node.domain else node.op
        held = (v for v in node.inputs if v is not None and v.constant is not None)
        label = _label(op, node.name, *(f"{v.name}: {print_type(v.type)}" for v in held))
        name = self.box(indent, label, ", style=filled, fillcolor=lightgrey" if is_quant(node) else "")
        self.names[node] = name
        for value in node.inputs:
            if value is not None and value.constant is None:
                self.edge(value, name, indent)
        for i, subgraph in enumerate(node.subgraphs):
            self.boxes.append(f"{indent}subgraph cluster_{name}_{i} {{")
            self.boxes.append(f"{indent}  label={_label(node.name, subgraph.name)};")
            self.graph(subgraph, indent + "  ")
            self.boxes.append(f"{indent}}}")

    def edge(self, value: Value, end: str, indent: str) -> None:
        source = self.names.get(value if value.producer is None else value.producer)
        if source is None:  # a constant that is returned, or a value of a graph around the one that is drawn
            label = _label(value.name, print_type(value.type))
            source = self.names[value if value.producer is None else value.producer] = self.box(indent, label)
        self.edges.append(f"  {source} -> {end} [label={_label(value.name, print_type(value.type))}];")


def _label(*lines: str) -> str:
    return '"' + "\\n".join(_quoted(line)[1:-1] for line in lines) + '"'


def _quoted(text: str) -> str:
    """A DOT string: a backslash begins an escape in labels, and control characters would break lines."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\\\u{ord(c):04x}" for c in escaped) + '"'
