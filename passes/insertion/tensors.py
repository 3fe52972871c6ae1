"""Tensor quantization: inputs of MaxPool and Add that travel as integers, asked for as `layer:input`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import operand_precision
from qir.ir.types import QuantSpec
from qir.passes.insertion.quant_nodes import read_quant
from qir.passes.rules import TargetRules


@dataclass(frozen=True)
class Wanted:
    """An input of a layer that is to travel as integers, with a zero point or without."""

    index: int
    symmetric: bool


def wanted_tensors(
    asymmetric: Sequence[str], symmetric: Sequence[str], graph: Graph, rules: TargetRules
) -> dict[Node, Wanted]:
    """The nodes and inputs of texts like `pool1:0`.

    ConfigError for what is no such text or layer, for layers whose inputs the target does not quantize alone,
    and for a second input of one layer, which AMCT refuses too.
    """
    layers = {node.name: node for node in graph.nodes if _is_known(node, rules)}
    found: dict[Node, Wanted] = {}
    for text in (*asymmetric, *symmetric):
        if text in asymmetric and text in symmetric:
            raise ConfigError(f"tensors: '{text}' is asked for with a zero point and without")
        name, _, index = text.rpartition(":")
        if not name or not index.isdecimal():
            raise ConfigError(
                f"tensors: '{text}' should be the name of a layer and an input, as in 'pool1:0'"
            )
        if name not in layers:
            ops = " or ".join(rules.tensors) or "nothing"
            raise ConfigError(
                f"tensors: '{name}' is no layer whose input alone can be quantized; target '{rules.name}' "
                f"does that for {ops}{did_you_mean(name, layers)}"
            )
        node = layers[name]
        wanted = Wanted(int(index), text in symmetric)
        if found.get(node, wanted) != wanted:
            raise ConfigError(
                f"tensors: both inputs of '{name}' ({node.op}) are asked for; one of them can be quantized"
            )
        found[node] = wanted
    return found


def quantize_tensor(
    graph: Graph, node: Node, wanted: Wanted, rules: TargetRules, order: Mapping[Node, int]
) -> bool:
    """Let `node` read its input through an open quant; False when it does so already.

    ConfigError with the reason when the target cannot have it.
    """
    index = wanted.index
    reason = rules.tensors[node.op](node, index)
    if _carries_bias(node):
        reason = "it adds the bias of a quantized MatMul and is part of that layer"
    elif operand_precision(node, index) is not None:
        return False
    if reason is not None:
        raise ConfigError(f"tensors: input {index} of '{node.name}' cannot be quantized: {reason}")
    read_quant(graph, node, index, QuantSpec(DType.I8, symmetric=wanted.symmetric), order)
    return True


def _is_known(node: Node, rules: TargetRules) -> bool:
    return node.op in rules.tensors and node.domain in ("", "ai.onnx")


def _carries_bias(node: Node) -> bool:
    bias = operand_precision(node, 1)
    return bias is not None and bias.qtype is DType.I32
