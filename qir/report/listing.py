"""The graph in the report: nodes in running order, and what each of them reads."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant, unquantized
from qir.ir.walk import readings
from qir.report.plain import Entries, Json


def graph_entry(graph: Graph) -> Entries:
    """Inputs, outputs and nodes but for quants; `reads` has the places of nodes, and names of inputs."""
    nodes = [node for node in graph.nodes if not is_quant(node)]
    places = {node: place for place, node in enumerate(nodes)}
    listed: list[Json] = [_node(node, places) for node in nodes]
    outputs: list[Json] = [{"name": v.name, "reads": _read([v], places)} for v in graph.outputs]
    return {
        "inputs": [v.name for v in graph.inputs if v.constant is None],
        "nodes": listed,
        "outputs": outputs,
    }


def _node(node: Node, places: dict[Node, int]) -> Entries:
    op = f"{node.domain}.{node.op}" if node.domain else node.op
    return {"name": node.name, "op": op, "reads": _read(list(readings(node)), places)}


def _read(values: list[Value], places: dict[Node, int]) -> list[Json]:
    found: dict[int | str, None] = {}
    for value in values:
        source = unquantized(value)
        if source.producer in places:
            found[places[source.producer]] = None
        elif source.producer is None and source.constant is None:
            found[source.name] = None
    return [*found]
