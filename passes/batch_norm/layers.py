"""How Conv, ConvTranspose, Gemm, MatMul and BatchNormalization absorb an affine map of their output channels.

    scale * (W x + b) + shift  =  (scale W) x + (scale b + shift)

A MatMul has no bias of its own: an Add of a constant vector behind it stands for one. For BatchNormalization
W is its gamma and b its beta.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.passes.batch_norm.transforms import Floats, Layout, Transform, computable, normalization_of
from qir.passes.constants import write_operand
from qir.passes.rewiring import forward

FUSED = "qir.fused"
"""Metadata key of a layer into which nodes were folded: their names, a JSON list."""


@dataclass
class Layer:
    """A layer of constant weights: these in computable form, and where its output has the channels.

    `bias_add` is the Add that is the bias of a MatMul, once there is one; `fused` are names of folded nodes.
    """

    node: Node
    weights: Floats
    layout: Layout
    bias_add: Node | None = None
    fused: list[str] = field(default_factory=list)

    @property
    def result(self) -> Value:
        """What the layer gives, bias included."""
        return (self.bias_add or self.node).output

    def note_fused(self) -> None:
        """Write the names of what was folded into the metadata, behind those of earlier runs."""
        if self.fused:
            self.node.metadata[FUSED] = json.dumps([*fused_names(self.node), *self.fused])


def fused_names(node: Node) -> list[str]:
    """The names of the nodes that were folded into a node."""
    names: list[str] = json.loads(node.metadata.get(FUSED, "[]"))
    return names


def layer_of(node: Node) -> Layer | str:
    """The layer that a node is; a reason when it cannot absorb anything."""
    what = f"{node.op} '{node.name}'"
    value, bias = node.input(1), node.input(2)
    held = None if value is None else value.constant
    if held is None:
        return f"the weights of {what} are not constant"
    if not held.dtype.is_float or held.dtype.numpy is None:
        return f"the weights of {what} are {held.dtype.value}, with which qir does not compute"
    if node.op != "MatMul" and bias is not None and bias.constant is None:
        return f"the bias of {what} is not constant"
    weights = computable(held.array)
    layout = _layout(node, weights)
    if layout is None:
        return f"the channels of {what} cannot be told: its weights have the shape {list(held.shape)}"
    if node.op == "BatchNormalization":
        own = normalization_of(node, layout)
        if isinstance(own, str):
            return f"{what} is not plain: {own}"
    return Layer(node, weights, layout)


def _layout(node: Node, weights: Floats) -> Layout | None:
    shape = weights.shape
    rank = _rank(node.input(0))
    if node.op == "BatchNormalization":
        return Layout(shape[0], rank - 2, rank) if rank is not None and rank > 1 and len(shape) == 1 else None
    if node.op in ("Conv", "ConvTranspose"):
        if len(shape) < 3:
            return None
        channels = shape[0] if node.op == "Conv" else shape[1] * _groups(node)
        return Layout(channels, len(shape) - 2, len(shape))
    if len(shape) != 2:
        return None
    if node.op == "Gemm":
        return Layout(shape[0 if node.attributes.get("transB") else 1], 0, 2)
    return Layout(shape[1], 0, rank)


def _rank(value: Value | None) -> int | None:
    shape = None if value is None else value.tensor.shape
    return None if shape is None else len(shape)


def _groups(node: Node) -> int:
    groups = node.attributes.get("group", 1)
    assert isinstance(groups, int)
    return groups


def _scaled_weights(layer: Layer, transform: Transform) -> Floats:
    """The weights times the scale of their output channel."""
    node, weights = layer.node, layer.weights
    if node.op in ("Conv", "BatchNormalization"):
        return transform.scale(weights, (-1, *[1] * (weights.ndim - 1)))
    if node.op == "ConvTranspose":  # [Cin, Cout/groups, k…]: block g of Cin makes block g of the channels
        groups = _groups(node)
        blocks = weights.reshape(groups, -1, *weights.shape[1:])
        along = (groups, 1, weights.shape[1], *[1] * (weights.ndim - 2))
        return transform.scale(blocks, along).reshape(weights.shape)
    return transform.scale(weights, (-1, 1) if node.attributes.get("transB") else (1, -1))


def _bias(layer: Layer) -> Floats | None:
    """The constant that the layer adds, Gemm's with beta in it; None when it adds none."""
    if layer.node.op == "MatMul":
        value = None if layer.bias_add is None else layer.bias_add.input(1)
    else:
        value = layer.node.input(2)
    if value is None or value.constant is None:
        return None
    bias = computable(value.constant.array)
    beta = layer.node.attributes.get("beta", 1.0)
    assert isinstance(beta, (int, float))
    return bias if beta == 1 else bias * bias.dtype.type(beta)


def absorb(layer: Layer, follower: Node, transform: Transform) -> str | None:
    """Fold `follower`, the only reader of the layer's result, into the layer; a reason when it must not be.

    The layer's result takes the name of the follower's. Constants with other readers are copied first.
    """
    node = layer.node
    with np.errstate(all="ignore"):
        weights, old_bias = _scaled_weights(layer, transform), _bias(layer)
        zeros = np.zeros(layer.layout.channels, weights.dtype)
        bias = transform.apply(zeros if old_bias is None else old_bias)
        held_weights, held_bias = _stored(layer, weights), _stored(layer, bias)
    if not (np.isfinite(held_weights.array).all() and np.isfinite(held_bias.array).all()):
        return "the folded weights would not be finite"
    if weights is not layer.weights:
        write_operand(node, 1, held_weights, f"{node.name}.{_NAMES.get(node.op, 'weight')}")
        layer.weights = weights
    has_bias = old_bias is not None or transform.has_shift
    if has_bias and node.op == "MatMul" and layer.bias_add is None:
        _become_bias(layer, follower, held_bias)
        return None
    if has_bias:
        holder, i = (node, 2) if layer.bias_add is None else (layer.bias_add, 1)
        write_operand(holder, i, held_bias, f"{node.name}.bias")
        if node.attributes.get("beta", 1.0) != 1.0:
            node.attributes["beta"] = 1.0
    _take_over(layer, follower)
    return None


_NAMES = {"BatchNormalization": "scale"}
"""What the constant of input 1 is called where it is not `weight`."""


def _stored(layer: Layer, values: Floats) -> Constant:
    weight = layer.node.inputs[1]
    assert weight is not None
    assert weight.constant is not None
    return Constant.of(np.ascontiguousarray(values, weight.constant.array.dtype))


def _take_over(layer: Layer, follower: Node) -> None:
    """Erase the follower; the layer's result is now what it gave, under its name."""
    graph, output, result = _graph(follower), follower.output, layer.result
    name = output.name
    forward(output, result)
    graph.erase(follower)
    graph.rename(result, name)
    layer.fused += [follower.name, *fused_names(follower)]


def _become_bias(layer: Layer, follower: Node, bias: Constant) -> None:
    """Let the follower of a MatMul be the Add of its bias: same name, same result."""
    source = layer.result
    vector = next((v for v in follower.inputs if v is not source), None)
    kept = follower.op == "Add" and vector is not None and vector.constant == bias
    if follower.op == "BatchNormalization":
        layer.fused.append(follower.name)
    for i in reversed(range(len(follower.inputs))):
        follower.set_input(i, None)
    follower.trim_inputs()
    follower.op, follower.attributes = "Add", {}
    follower.set_input(0, source)
    follower.set_input(1, vector if kept else _graph(follower).constant(bias, f"{layer.node.name}.bias"))
    layer.bias_add = follower


def _graph(node: Node) -> Graph:
    assert node.graph is not None
    return node.graph
