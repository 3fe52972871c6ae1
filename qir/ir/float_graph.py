"""The float graph behind a quantized one."""

from __future__ import annotations

from qir.ir.clone import clone_graph
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import is_quant, unquantized
from qir.ir.walk import walk_graphs, walk_nodes


def float_graph(graph: Graph, made: dict[Value, Value] | None = None) -> Graph:
    """A copy without quants, whose nodes, bodies and outputs read the values behind them.

    `made` receives what stands in the copy for each value of `graph` that no quant gives.
    """
    copy = clone_graph(graph, graph.parent, {} if made is None else made)
    for inner in walk_graphs(copy):
        for i, value in enumerate(inner.outputs):
            inner.set_output(i, unquantized(value))
    for node in walk_nodes(copy):
        if is_quant(node):
            for reader, i in node.output.uses:
                reader.set_input(i, node.inputs[0])
            copy.erase(node)
    return copy
