"""Models as they may be quantized: AMCT refuses those that it has made itself."""

from __future__ import annotations

from qir.compat.common.errors import CompatRuntimeError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_nodes
from qir.runtime.calibration_ops import DOMAIN

_QUANT_OPS = ("AscendQuant", "AscendDequant", "AscendAntiQuant")
_FAKE_QUANT = ".quant.fakequant."
"""In the names of nodes of fake-quant models."""
_NAMED = 5


def checked_float(graph: Graph) -> Graph:
    """The graph; CompatRuntimeError when it is a calibration, fake-quant or deploy model."""
    found = [node.name for node in walk_nodes(graph) if _is_quantized(node)]
    if found:
        raise CompatRuntimeError(
            f"The model cannot be quantized for following quant layers are in the model {found[:_NAMED]}; "
            "give the float model"
        )
    return graph


def _is_quantized(node: Node) -> bool:
    return node.op in _QUANT_OPS or node.domain.startswith(DOMAIN) or _FAKE_QUANT in node.name
