"""Which ops ONNX defines: all others are carried as they are, and nothing is known about them."""

from __future__ import annotations

from functools import cache

import onnx

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant
from qir.ir.walk import walk_nodes


@cache
def op_types() -> frozenset[str]:
    """The names of all ops of ONNX itself, at any opset."""
    return frozenset(s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain in ("", "ai.onnx"))


def unknown_ops(graph: Graph) -> tuple[Node, ...]:
    """The nodes, those of subgraphs too, whose op is neither ONNX's (at any opset) nor qir's own."""
    return tuple(n for n in walk_nodes(graph) if not is_quant(n) and not onnx.defs.has(n.op, n.domain))
