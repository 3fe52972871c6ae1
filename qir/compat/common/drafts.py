"""Records of a graph whose weights are quantized and whose activations are not yet."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qir.backends.ascend.record import DraftRecord
from qir.backends.ascend.rules import RULES
from qir.ir.graph import Graph
from qir.ir.node import Node, Use
from qir.ir.quants import operand_precision, quantized_layers, quantized_tensors
from qir.ir.types import QuantParams
from qir.passes.balancing.scaling import BALANCE_FACTOR


def draft_records(graph: Graph, unfused: Sequence[str] = ()) -> dict[str, DraftRecord]:
    """Key -> what is known before calibration: layers in running order, then tensors (`layer:input`).

    `unfused` are the layers that keep the BatchNormalization behind them.
    """
    layers = [node for node in quantized_layers(graph) if node.op in RULES.ops]
    found = {node.name: _of_layer(node, node.name in unfused) for node in layers}
    return found | {_key(use): DraftRecord(is_tensor_quantize=True) for use in quantized_tensors(graph)}


def record_key(use: Use) -> str:
    """How the record calls the layer, or the tensor, that reads a quantized activation."""
    return use.node.name if use.node.op in RULES.ops else _key(use)


def _key(use: Use) -> str:
    return f"{use.node.name}:{use.index}"


def _of_layer(node: Node, unfused: bool) -> DraftRecord:
    precision = operand_precision(node, 1)
    params = None if precision is None else precision.single
    factors = tuple(json.loads(node.metadata.get(BALANCE_FACTOR, "[]")))
    if not isinstance(params, QuantParams):  # pooling has no weight
        return DraftRecord((1.0,), None, factors, unfused)
    return DraftRecord(params.scale, f"INT{params.spec.qtype.bits}", factors, unfused)
