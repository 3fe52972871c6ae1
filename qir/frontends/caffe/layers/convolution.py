"""Convolution, Deconvolution and DepthwiseConvolution; several bottoms go through the same weights."""

from __future__ import annotations

from collections.abc import Callable

from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope
from qir.frontends.caffe.shapes import Shape, number
from qir.frontends.caffe.windows import Window, convolved, deconvolved, read_window
from qir.ir.node import Value

Sizes = Callable[[LayerScope, Window, Shape], tuple[int, ...]]


def convolution(layer: LayerScope) -> None:
    """Weights [out, in / group, k…], bias [out]."""
    params = _params(layer)
    channels, group = number(layer.bottoms[0].shape[1]), params.integer("group")
    outputs = _outputs(layer, params, channels, group)
    _convolve(layer, params, "Conv", group, (outputs, channels // group), outputs, convolved)


def deconvolution(layer: LayerScope) -> None:
    """Weights [in, out / group, k…], bias [out]."""
    params = _params(layer)
    channels, group = number(layer.bottoms[0].shape[1]), params.integer("group")
    outputs = _outputs(layer, params, channels, group)
    _convolve(layer, params, "ConvTranspose", group, (channels, outputs // group), outputs, deconvolved)


def depthwise_convolution(layer: LayerScope) -> None:
    """A convolution with a group for each channel; weights [out, 1, k…], bias [out]."""
    params = _params(layer)
    channels = number(layer.bottoms[0].shape[1])
    stated = params.integer("group")
    if stated not in (1, channels):
        raise layer.error(f"has group {stated}, but {channels} channels; a depthwise one has as many groups")
    outputs = params.integer("num_output") or channels
    if outputs % channels:
        raise layer.error(f"has num_output {outputs}, which {channels} channels do not divide")
    _convolve(layer, params, "Conv", channels, (outputs, 1), outputs, convolved)


def _params(layer: LayerScope) -> Params:
    layer.check_counts(1, -1, tops=len(layer.bottoms))
    if len(layer.bottoms[0].shape) < 3:
        raise layer.error(f"has a bottom of {len(layer.bottoms[0].shape)} dimensions; it needs 3 or more")
    params = layer.params("convolution_param")
    if params.integer("axis") not in (1, 1 - len(layer.bottoms[0].shape)):
        raise layer.error(f"has its channels on axis {params.integer('axis')}; qir reads axis 1 only")
    return params


def _outputs(layer: LayerScope, params: Params, channels: int, group: int) -> int:
    outputs = params.integer("num_output")
    if outputs < 1:
        raise layer.error("has no num_output")
    if group < 1 or channels % group or outputs % group:
        raise layer.error(f"has group {group}, which does not divide {channels} inputs and {outputs} outputs")
    return outputs


def _convolve(
    layer: LayerScope,
    params: Params,
    op: str,
    group: int,
    weight_channels: tuple[int, int],
    outputs: int,
    sizes: Sizes,
) -> None:
    window = read_window(layer, params, layer.bottoms[0].shape, dilated=True)
    weights = layer.blob(0, (*weight_channels, *window.kernel), "weight")
    operands: list[Value] = [layer.constant(weights, "weight")]
    if params.flag("bias_term"):
        operands.append(layer.constant(layer.blob(1, (outputs,), "bias"), "bias"))
    for i, (bottom, top) in enumerate(zip(layer.bottoms, layer.tops, strict=True)):
        if bottom.shape[1] != layer.bottoms[0].shape[1]:
            raise layer.error("has bottoms of different numbers of channels")
        shape: Shape = (bottom.shape[0], outputs, *sizes(layer, window, bottom.shape))
        attributes = window.attributes() | {"group": group}
        layer.add(op, [bottom, *operands], shape, attributes, part=str(i) if i else "", top=top)
