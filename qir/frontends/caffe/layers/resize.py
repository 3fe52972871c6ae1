"""Interp and Upsample: images made larger or smaller."""

from __future__ import annotations

import numpy as np

from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, numbers
from qir.ir.node import Attribute


def interp(layer: LayerScope) -> None:
    """Bilinear, corner pixels on corner pixels, to a size that is stated, computed, or a second bottom's.

    Negative `pad_beg` and `pad_end` cut the image first.
    """
    layer.check_counts(1, 2)
    x = layer.bottoms[0]
    params = layer.params("interp_param")
    if len(x.shape) != 4:
        raise layer.error(f"has a bottom of {len(x.shape)} dimensions; it needs 4")
    begin, end = params.integer("pad_beg"), params.integer("pad_end")
    if begin > 0 or end > 0:
        raise layer.error(f"has pad_beg {begin}, pad_end {end}; they can only cut, so must not be positive")
    height, width = (d + begin + end for d in numbers(x.shape[2:]))
    if min(height, width) < 1:
        raise layer.error("cuts away the whole image")
    if begin or end:
        x = _cut(layer, x, -begin, (height, width))
    sizes = _interp_sizes(layer, params, height, width)
    if min(sizes) < 1:
        raise layer.error(f"has a result of {sizes[0]} x {sizes[1]}")
    attributes: dict[str, Attribute] = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    _resize(layer, x, sizes, attributes)


def _interp_sizes(layer: LayerScope, params: Params, height: int, width: int) -> tuple[int, int]:
    if len(layer.bottoms) == 2:
        rows, columns = numbers(layer.bottoms[1].shape[2:])
        return rows, columns
    zooms, shrinks = params.has("zoom_factor"), params.has("shrink_factor")
    if zooms or shrinks:
        zoom, shrink = params.integer("zoom_factor"), params.integer("shrink_factor")
        if min(zoom, shrink) < 1:
            raise layer.error("has a factor below 1")
        rows, columns = ((d - 1) // shrink + 1 for d in (height, width))
        return rows + (rows - 1) * (zoom - 1), columns + (columns - 1) * (zoom - 1)
    if not (params.has("height") and params.has("width")):
        raise layer.error("says no size: neither height and width, nor zoom_factor or shrink_factor")
    return params.integer("height"), params.integer("width")


def _cut(layer: LayerScope, x: Tensor, begin: int, sizes: tuple[int, int]) -> Tensor:
    starts = layer.indices((begin, begin), "starts")
    ends = layer.indices([begin + size for size in sizes], "ends")
    return layer.add(
        "Slice", [x, starts, ends, layer.indices((2, 3), "axes")], (*x.shape[:2], *sizes), part="cut"
    )


def upsample(layer: LayerScope) -> None:
    """Every pixel repeated `scale` (or `stride`) times in both directions."""
    if len(layer.bottoms) == 2:
        raise layer.error("puts maxima back to where a mask says; qir reads the form with one bottom only")
    x, _ = layer.one()
    params = layer.params("upsample_param")
    if len(x.shape) != 4:
        raise layer.error(f"has a bottom of {len(x.shape)} dimensions; it needs 4")
    both = params.integer("scale") or params.integer("stride")
    factors = params.integer("stride_h") or both, params.integer("stride_w") or both
    if min(factors) < 1:
        raise layer.error("has no scale")
    height, width = numbers(x.shape[2:])
    attributes: dict[str, Attribute] = {
        "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
    }  # fmt: skip
    _resize(layer, x, (height * factors[0], width * factors[1]), attributes)


def _resize(layer: LayerScope, x: Tensor, sizes: tuple[int, int], attributes: dict[str, Attribute]) -> None:
    """By factors rather than sizes, because sizes would have to say the batch too."""
    shape: Shape = (*x.shape[:2], *sizes)
    pairs = zip(sizes, numbers(x.shape[2:]), strict=True)
    scales = np.array([1, 1, *(_factor(size, length) for size, length in pairs)], np.float32)
    layer.add("Resize", [x, None, layer.constant(scales, "scales")], shape, attributes, top=layer.tops[0])


def _factor(size: int, length: int) -> float:
    """The float32 next to size / length that gives that size rounded down, in float32 and in float64."""
    factor = np.float32(size / length)
    while float(factor) * length < size:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)
