"""BatchNorm, Scale and Bias: maps of each channel (or of several axes) by factors and shifts."""

from __future__ import annotations

import json

import numpy as np

from qir.frontends.caffe.blobs import Version
from qir.frontends.caffe.caffemodel import Blob
from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, number, numbers, text_of
from qir.ir.node import Value

_FUSED = "qir.fused"
"""Metadata key of the names of nodes that became part of a node, a JSON list; files tell them to users."""


def batch_norm(layer: LayerScope) -> None:
    """(x - mean) / sqrt(variance + eps) with stored statistics; a Scale behind it becomes part of it.

    The caffemodel holds sums of the statistics and in a third blob the factor to divide them by.
    """
    x, top = layer.one()
    params = layer.params("batch_norm_param")
    if params.has("use_global_stats") and not params.flag("use_global_stats"):
        raise layer.error("computes statistics of the batch, as in training; set use_global_stats: true")
    if len(x.shape) < 2:
        raise layer.error("has a bottom without channels")
    channels = number(x.shape[1])
    mean, variance = layer.blob(0, (channels,), "mean"), layer.blob(1, (channels,), "variance")
    divisor = layer.blob(2, (1,), "scale factor")[0]
    factor = np.float32(0) if divisor == 0 else np.float32(1) / divisor
    gamma, beta = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    follower = _scale_behind(layer, top, len(x.shape))
    if follower is not None:
        layer.absorb(follower)
        top = follower.tops[0]
        gamma = follower.blob(0, (channels,), "factor")
        if follower.params("scale_param").flag("bias_term"):
            beta = follower.blob(1, (channels,), "shift")
    held = {"scale": gamma, "bias": beta, "mean": mean * factor, "variance": variance * factor}
    operands = [layer.constant(data, part) for part, data in held.items()]
    attributes = {"epsilon": params.real("eps")}
    made = layer.add("BatchNormalization", [x, *operands], x.shape, attributes, top=top)
    if follower is not None and made.value.producer is not None:
        made.value.producer.metadata[_FUSED] = json.dumps([follower.name])


def _scale_behind(layer: LayerScope, top: Version, rank: int) -> LayerScope | None:
    """The Scale of channels that alone reads the result, if there is one."""
    readers = layer.readers(top)
    if len(readers) != 1 or readers[0].type != "Scale" or len(readers[0].layer.bottoms) != 1:
        return None
    params = readers[0].params("scale_param")
    plain = params.integer("axis") in (1, 1 - rank) and params.integer("num_axes") == 1
    return readers[0] if plain and len(readers[0].tops) == 1 else None


def scale(layer: LayerScope) -> None:
    """Factors, learned or a second bottom, times x; then with `bias_term` shifts."""
    layer.check_counts(1, 2)
    params = layer.params("scale_param")
    x, top = layer.bottoms[0], layer.tops[0]
    first, count = _axes(layer, params)
    factors = _operand(layer, params, "factor")
    if not params.flag("bias_term"):
        layer.add("Mul", [x, factors], x.shape, top=top)
        return
    product = layer.add("Mul", [x, factors], x.shape)
    blob = layer.blob(len(layer.bottoms) % 2, numbers(x.shape[first : first + count]), "shift")
    shifts = layer.constant(_broadcast(blob, x, first, count), "shift")
    layer.add("Add", [product, shifts], x.shape, part="shift", top=top)


def bias(layer: LayerScope) -> None:
    """x plus shifts, learned or a second bottom."""
    layer.check_counts(1, 2)
    x = layer.bottoms[0]
    shifts = _operand(layer, layer.params("bias_param"), "shift")
    layer.add("Add", [x, shifts], x.shape, top=layer.tops[0])


def _axes(layer: LayerScope, params: Params) -> tuple[int, int]:
    """The first of the axes that the operand covers, and their number."""
    rank = len(layer.bottoms[0].shape)
    if len(layer.bottoms) == 2:
        count = len(layer.bottoms[1].shape)
        first = 0 if not count else layer.axis(params.integer("axis"), rank)
    else:
        first, count = layer.axis(params.integer("axis"), rank), params.integer("num_axes")
        count = rank - first if count == -1 else count
    if first + count > rank:
        raise layer.error(f"covers {count} axes from axis {first}, but its bottom has {rank} dimensions")
    return first, count


def _operand(layer: LayerScope, params: Params, role: str) -> Tensor | Value:
    """Factors or shifts in a shape that broadcasts over x."""
    x = layer.bottoms[0]
    first, count = _axes(layer, params)
    covered = x.shape[first : first + count]
    if len(layer.bottoms) == 1:
        blob = layer.blob(0, numbers(covered), role)
        return layer.constant(_broadcast(blob, x, first, count), role)
    second = layer.bottoms[1]
    if second.shape != covered:
        raise layer.error(f"has a second bottom of shape {text_of(second.shape)}, not {text_of(covered)}")
    behind = len(x.shape) - first - count
    if not behind:
        return second
    shape: Shape = (*second.shape, *[1] * behind)
    axes = layer.indices(range(count, count + behind), "axes")
    return layer.add("Unsqueeze", [second, axes], shape, part=role)


def _broadcast(blob: Blob, x: Tensor, first: int, count: int) -> Blob:
    return blob.reshape(*blob.shape, *[1] * (len(x.shape) - first - count))
