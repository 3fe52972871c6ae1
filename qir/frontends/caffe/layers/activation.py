"""Layers that map each element by itself, and those that pass their bottom on."""

from __future__ import annotations

import numpy as np

from qir.frontends.caffe.scope import LayerScope
from qir.frontends.caffe.shapes import number
from qir.ir.dtypes import DType
from qir.ir.node import Attribute


def relu(layer: LayerScope) -> None:
    """ReLU, or with a negative slope LeakyRelu."""
    slope = layer.params("relu_param").real("negative_slope")
    if slope:
        _unary(layer, "LeakyRelu", {"alpha": slope})
    else:
        _unary(layer, "Relu")


def relu6(layer: LayerScope) -> None:
    """min(max(x, 0), 6)."""
    if layer.params("relu6_param").real("negative_slope"):
        raise layer.error("has a negative_slope, which ReLU6 is not defined with")
    _clip(layer, 0.0, 6.0)


def clip(layer: LayerScope) -> None:
    """min(max(x, min), max)."""
    params = layer.params("clip_param")
    _clip(layer, params.real("min"), params.real("max"))


def _clip(layer: LayerScope, low: float, high: float) -> None:
    x, top = layer.one()
    limits = layer.constant(np.float32(low), "min"), layer.constant(np.float32(high), "max")
    layer.add("Clip", [x, *limits], x.shape, top=top)


def prelu(layer: LayerScope) -> None:
    """x for x > 0, else slope * x; one slope for each channel, or one for all."""
    x, top = layer.one()
    shared = layer.params("prelu_param").flag("channel_shared")
    if not shared and len(x.shape) < 2:
        raise layer.error("has a bottom without channels")
    channels = 1 if shared else number(x.shape[1])
    slope = layer.blob(0, (channels,), "slope")
    slope = slope.reshape(channels, *[1] * (len(x.shape) - 2)) if not shared else slope
    layer.add("PRelu", [x, layer.constant(slope, "slope")], x.shape, top=top)


def elu(layer: LayerScope) -> None:
    """x for x > 0, else alpha * (exp(x) - 1)."""
    _unary(layer, "Elu", {"alpha": layer.params("elu_param").real("alpha")})


def sigmoid(layer: LayerScope) -> None:
    """1 / (1 + exp(-x))."""
    _unary(layer, "Sigmoid")


def tanh(layer: LayerScope) -> None:
    """Hyperbolic tangent."""
    _unary(layer, "Tanh")


def bnll(layer: LayerScope) -> None:
    """log(1 + exp(x))."""
    _unary(layer, "Softplus")


def swish(layer: LayerScope) -> None:
    """x * sigmoid(beta * x)."""
    x, top = layer.one()
    beta = layer.params("swish_param").real("beta")
    inner = x
    if beta != 1:
        inner = layer.add("Mul", [x, layer.constant(np.float32(beta), "beta")], x.shape, part="scaled")
    gate = layer.add("Sigmoid", [inner], x.shape, part="sigmoid")
    layer.add("Mul", [x, gate], x.shape, top=top)


def threshold(layer: LayerScope) -> None:
    """1 where x is above the threshold, otherwise 0."""
    x, top = layer.one()
    limit = layer.constant(np.float32(layer.params("threshold_param").real("threshold")), "threshold")
    above = layer.add("Greater", [x, limit], x.shape, part="greater", dtype=DType.BOOL)
    layer.add("Cast", [above], x.shape, {"to": 1}, top=top)


def dropout(layer: LayerScope) -> None:
    """The bottom itself, unless training did not scale it: then (1 - ratio) times the bottom."""
    params = layer.params("dropout_param")
    if params.flag("scale_train"):
        _unary(layer, "Identity")
        return
    x, top = layer.one()
    kept = layer.constant(np.float32(1) - np.float32(params.real("dropout_ratio")), "kept")
    layer.add("Mul", [x, kept], x.shape, top=top)


def copy(layer: LayerScope) -> None:
    """Split: every top is the bottom."""
    layer.check_counts(1, tops=len(layer.tops))
    x = layer.bottoms[0]
    for i, top in enumerate(layer.tops):
        layer.add("Identity", [x], x.shape, part=str(i) if i else "", top=top)


def silence(layer: LayerScope) -> None:
    """Reads blobs so that they are no results; makes nothing."""
    layer.check_counts(1, -1, tops=0)


def _unary(layer: LayerScope, op: str, attributes: dict[str, Attribute] | None = None) -> None:
    x, top = layer.one()
    layer.add(op, [x], x.shape, attributes, top=top)
