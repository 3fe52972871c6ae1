"""Layers that divide by what they find in the data: LRN, Normalize, MVN, Softmax."""

from __future__ import annotations

import numpy as np

from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, number
from qir.ir.node import Attribute


def softmax(layer: LayerScope) -> None:
    """Softmax over one axis."""
    x, top = layer.one()
    axis = layer.axis(layer.params("softmax_param").integer("axis"), len(x.shape))
    layer.add("Softmax", [x], x.shape, {"axis": axis}, top=top)


def lrn(layer: LayerScope) -> None:
    """x / (k + alpha / n * sum of n squares) ^ beta, over channels or over a square of each channel."""
    x, top = layer.one()
    params = layer.params("lrn_param")
    size, alpha, beta = params.integer("local_size"), params.real("alpha"), params.real("beta")
    if size % 2 == 0:
        raise layer.error(f"has local_size {size}; it must be odd")
    if params.word("norm_region") == "ACROSS_CHANNELS":
        attributes: dict[str, Attribute] = {
            "size": size, "alpha": alpha, "beta": beta, "bias": params.real("k"),
        }  # fmt: skip
        layer.add("LRN", [x], x.shape, attributes, top=top)
        return
    # Caffe takes k as 1 here. The root of a sum of squares is an LpPool; an AveragePool would be quantized.
    half = (size - 1) // 2
    window: dict[str, Attribute] = {
        "kernel_shape": (size, size), "strides": (1, 1), "pads": (half,) * 4, "p": 2,
    }  # fmt: skip
    root = layer.add("LpPool", [x], x.shape, window, part="root")
    squares = layer.add("Mul", [root, root], x.shape, part="squares")
    share = layer.constant(np.float32(alpha / (size * size)), "alpha")
    scaled = layer.add("Mul", [squares, share], x.shape, part="scaled")
    shifted = layer.add("Add", [scaled, layer.constant(np.float32(1), "one")], x.shape, part="shifted")
    powered = layer.add("Pow", [shifted, layer.constant(np.float32(beta), "beta")], x.shape, part="power")
    layer.add("Div", [x, powered], x.shape, top=top)


def normalize(layer: LayerScope) -> None:
    """x / sqrt(sum of squares + eps) times learned factors; sums over channels, or over all of an image."""
    x, top = layer.one()
    params = layer.params("norm_param")
    if len(x.shape) != 4:
        raise layer.error(f"has a bottom of {len(x.shape)} dimensions; it needs 4")
    axes = (1, 2, 3) if params.flag("across_spatial") else (1,)
    shape: Shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    squares = layer.add("ReduceSumSquare", [x], shape, {"axes": axes, "keepdims": 1}, part="squares")
    eps = layer.constant(np.float32(params.real("eps")), "eps")
    shifted = layer.add("Add", [squares, eps], shape, part="shifted")
    norm = layer.add("Sqrt", [shifted], shape, part="norm")
    unit = layer.add("Div", [x, norm], x.shape, part="unit")
    channels = 1 if params.flag("channel_shared") else number(x.shape[1])
    factors = layer.blob(0, (channels,), "factor").reshape(channels, 1, 1)
    layer.add("Mul", [unit, layer.constant(factors, "factor")], x.shape, top=top)


def mvn(layer: LayerScope) -> None:
    """(x - mean) / (standard deviation + eps) of each channel, or of each image."""
    x, top = layer.one()
    params = layer.params("mvn_param")
    axes = tuple(range(1 if params.flag("across_channels") else 2, len(x.shape)))
    if not params.flag("normalize_variance"):
        layer.add("Sub", [x, _mean(layer, x, axes, "mean")], x.shape, top=top)
        return
    centred = layer.add("Sub", [x, _mean(layer, x, axes, "mean")], x.shape, part="centred")
    squares = layer.add("Mul", [centred, centred], x.shape, part="squares")
    variance = _mean(layer, squares, axes, "variance")
    deviation = layer.add("Sqrt", [variance], variance.shape, part="deviation")
    eps = layer.constant(np.float32(params.real("eps")), "eps")
    shifted = layer.add("Add", [deviation, eps], variance.shape, part="shifted")
    layer.add("Div", [centred, shifted], x.shape, top=top)


def _mean(layer: LayerScope, x: Tensor, axes: tuple[int, ...], part: str) -> Tensor:
    shape: Shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    return layer.add("ReduceMean", [x], shape, {"axes": axes, "keepdims": 1}, part=part)
