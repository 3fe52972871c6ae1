"""The layers of a deploy graph as its nodes tell them: AscendQuant, integer op, AscendDequant.

Nothing is taken for granted here, for faults are what the rules look for: any part may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.types import QuantSpec
from qir.ir.walk import walk_nodes

QUANT, DEQUANT, ANTI_QUANT = "AscendQuant", "AscendDequant", "AscendAntiQuant"
ASCEND_OPS = (QUANT, DEQUANT, ANTI_QUANT)
INTEGER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool")
"""Ops that Ascend runs on integers between AscendQuant and AscendDequant."""
MOVING_OPS = ("Pad", "MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Ops that may stand between AscendQuant and its layer: they move integers or choose among them."""
_WEIGHT_AXES = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class DeployLayer:
    """One reader of an AscendQuant.

    `node` computes on the integers, `last` gives the sum (the Add of the bias behind a MatMul, otherwise
    `node`), `dequant` turns it into floats (None: missing).
    """

    quant: Node
    node: Node
    last: Node
    dequant: Node | None

    @property
    def weight(self) -> Value | None:
        """The weight operand; AveragePool has none."""
        return self.node.input(1) if self.node.op in _WEIGHT_AXES else None

    @property
    def bias(self) -> Value | None:
        """The bias operand, or None."""
        if self.last is not self.node:
            return self.last.input(1)
        return self.node.input(2) if self.node.op in ("Conv", "ConvTranspose", "Gemm") else None

    @property
    def weight_spec(self) -> QuantSpec:
        """Where the output channels of the weight lie."""
        axis, groups = _WEIGHT_AXES[self.node.op], 1
        if self.node.op == "ConvTranspose":
            found = self.node.attributes.get("group", 1)
            groups = found if isinstance(found, int) else 1
        elif self.node.op == "Gemm" and self.node.attributes.get("transB", 0) != 0:
            axis = 0
        return QuantSpec(DType.I8, axis=axis, groups=groups)

    @property
    def channels(self) -> int | None:
        """Output channels by the weight; None without a weight of known shape."""
        shape = shape_of(self.weight)
        if shape is None or len(shape) < 2:
            return None
        return self.weight_spec.channels(shape)


@dataclass(frozen=True)
class DeployGraph:
    """A graph with its nodes (subgraphs included) and its layers in running order."""

    graph: Graph
    nodes: tuple[Node, ...]
    layers: tuple[DeployLayer, ...]

    def of_op(self, op: str) -> tuple[Node, ...]:
        """The nodes of one op of the default domain."""
        return tuple(n for n in self.nodes if n.op == op and n.domain in STANDARD_DOMAINS)


def read_deploy_graph(graph: Graph) -> DeployGraph:
    """The structure of a graph that may or may not be a correct deploy graph."""
    nodes = tuple(walk_nodes(graph))
    layers = [
        _layer(node, use.node)
        for node in nodes
        if node.op == QUANT and node.outputs and node.outputs[0] is not None
        for use in integer_uses(node.output)
        if use.node.op in INTEGER_OPS and use.index == 0
    ]
    order = {node: i for i, node in enumerate(nodes)}
    return DeployGraph(graph, nodes, tuple(sorted(layers, key=lambda layer: order[layer.node])))


def integer_uses(value: Value) -> tuple[Use, ...]:
    """Who reads integers, looking through the ops that move them."""
    found: list[Use] = []
    waiting = [value]
    while waiting:
        for use in waiting.pop(0).uses:
            if use.node.op in MOVING_OPS and use.index == 0:
                waiting.append(use.node.output)
            else:
                found.append(use)
    return tuple(found)


def _layer(quant: Node, node: Node) -> DeployLayer:
    last = node
    if node.op == "MatMul" and node.output.has_one_use:
        reader = node.output.uses[0]
        bias = reader.node.input(1)
        if (
            reader.node.op == "Add"
            and reader.index == 0
            and bias is not None
            and bias.tensor.dtype is DType.I32
        ):
            last = reader.node
    found = next((use.node for use in last.output.uses if use.node.op == DEQUANT), None)
    return DeployLayer(quant, node, last, found)


def array_of(value: Value | None) -> npt.NDArray[Any] | None:
    """The data of a constant that numpy knows; None for everything else. A Constant node counts too."""
    if value is None:
        return None
    held = value.constant
    if held is None and value.producer is not None and value.producer.op == "Constant":
        attribute = value.producer.attributes.get("value")
        held = attribute if isinstance(attribute, Constant) else None
    return None if held is None or held.dtype.numpy is None else held.array


def shape_of(value: Value | None) -> tuple[int, ...] | None:
    """The shape of a constant, or of a value all of whose dimensions are known."""
    array = array_of(value)
    if array is not None:
        return array.shape
    return None if value is None else value.tensor.static_shape


def number_of(node: Node, name: str) -> np.float32 | None:
    """A float attribute as the float32 that the file holds; None when it is absent or no float."""
    found = node.attributes.get(name)
    return np.float32(found) if isinstance(found, float) else None
