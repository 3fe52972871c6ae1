"""Closes the quants of weights: ARQ, the min-max scale per channel (or per tensor) of the weight itself.

For every open quant that reads a floating-point constant: bound = max |w| of the channel, scale = bound /
qmax, or bound / -qmin where the largest magnitude is negative; an all-zero channel gets scale 1. Source:
AMCT's arq_quantize, see `qir.runtime.weights.arq`. Biases are int32 and wait for `quantize-bias`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.errors import PassError, QirError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant
from qir.ir.types import QuantSpec
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.left_float import leave_in_float
from qir.runtime.scales import NO_SCALE, is_lost
from qir.runtime.weights import arq


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Choose the scales of weights from the weights themselves (ARQ)."""

    name: ClassVar[str] = "quantize-weights"

    def run(self, graph: Graph, context: Context) -> bool:
        """Close every open weight quant; PassError names a weight that is not finite.

        Layers whose weights are too small for any scale go back to float.
        """
        changed = False
        for node in graph.nodes:
            spec = None if node.graph is None else open_weight_spec(node)
            if spec is None:
                continue
            changed = True
            if close_weight(node, spec):
                context.rewrites.applied(self.name, node.name)
                continue
            reason = f"its weights '{_source(node).name}' are too small: {NO_SCALE}"
            for layer, _ in node.output.uses:
                leave_in_float(layer, reason)
                context.rewrites.refused(self.name, layer.name, reason)
        return changed


def open_weight_spec(node: Node) -> QuantSpec | None:
    """The spec of a node that is an open quant of a constant and not of a bias; otherwise None."""
    if not is_quant(node) or _source(node).constant is None:
        return None
    quant = node.output.tensor.quant
    return quant if isinstance(quant, QuantSpec) and quant.qtype is not DType.I32 else None


def close_weight(node: Node, spec: QuantSpec) -> bool:
    """Give the quant of a constant its scales; False, leaving it open, when all would become zero."""
    source = _source(node)
    assert source.constant is not None
    try:
        params = arq(source.constant.array, spec)
    except QirError as error:
        readers = ", ".join(f"'{use.node.name}'" for use in node.output.uses)
        raise PassError(f"weight '{source.name}' of {readers}: {error}") from error
    if is_lost(params, float(np.abs(source.constant.array).max())):
        return False
    node.output.type = node.output.tensor.with_quant(params)
    return True


def _source(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None, f"quant '{node.name}' reads nothing; verify would have refused it"
    return value
