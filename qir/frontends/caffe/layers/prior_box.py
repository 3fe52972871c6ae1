"""PriorBox of SSD: boxes over the cells of a feature map. They depend on sizes alone, so are a constant."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from qir.frontends.caffe.caffemodel import Blob
from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope
from qir.frontends.caffe.shapes import numbers

_SAME = 1e-6  # ratios that differ by less are one


@dataclass(frozen=True)
class _Grid:
    """The cells of a feature map on its image, both as (height, width)."""

    cells: tuple[int, int]
    image: tuple[int, int]
    step: tuple[float, float]
    offset: float


def prior_box(layer: LayerScope) -> None:
    """[1, 2, cells * boxes * 4]: corners (xmin, ymin, xmax, ymax) as shares of the image, then variances."""
    layer.check_counts(2)
    params = layer.params("prior_box_param")
    if any(len(bottom.shape) != 4 for bottom in layer.bottoms):
        raise layer.error("needs two bottoms of 4 dimensions: a feature map and the image")
    sizes = _box_sizes(layer, params)
    grid = _grid(layer, params)
    corners = _corners(grid, sizes)
    if params.flag("clip"):
        corners = np.clip(corners, np.float32(0), np.float32(1))
    variance = params.reals("variance") or (0.1,)
    if len(variance) not in (1, 4) or min(variance) <= 0:
        raise layer.error(f"has variances {list(variance)}; it needs one or four, above 0")
    variances = np.broadcast_to(np.asarray(variance, np.float32), (corners.size // 4, 4)).reshape(-1)
    layer.make_constant(np.stack([corners, variances])[None])


def _box_sizes(layer: LayerScope, params: Params) -> list[tuple[float, float]]:
    """(width, height) of the boxes of one cell, in Caffe's order. It cuts sizes to whole pixels."""
    smallest = [int(size) for size in params.reals("min_size")]
    largest = [int(size) for size in params.reals("max_size")]
    if not smallest or min(smallest) < 1:
        raise layer.error("needs a min_size of at least 1")
    if largest and len(largest) != len(smallest):
        raise layer.error(f"has {len(smallest)} min_size but {len(largest)} max_size")
    if any(b <= a for a, b in zip(smallest, largest, strict=False)):
        raise layer.error("has a max_size that is not above its min_size")
    if min(params.reals("aspect_ratio"), default=1.0) <= 0:
        raise layer.error("has an aspect_ratio that is not positive")
    found: list[tuple[float, float]] = []
    for i, size in enumerate(smallest):
        found.append((size, size))
        if largest:
            middle = float(np.float32(math.sqrt(size * largest[i])))
            found.append((middle, middle))
        for ratio in _ratios(params)[1:]:
            root = math.sqrt(ratio)
            found.append((float(np.float32(size * root)), float(np.float32(size / root))))
    return found


def _ratios(params: Params) -> list[float]:
    """Aspect ratios: 1 first, then each that is stated once, with `flip` followed by its inverse."""
    found = [1.0]
    for ratio in params.reals("aspect_ratio"):
        if all(abs(ratio - known) >= _SAME for known in found):
            found.append(ratio)
            if params.flag("flip"):
                found.append(float(np.float32(1 / ratio)))
    return found


def _grid(layer: LayerScope, params: Params) -> _Grid:
    rows, columns = numbers(layer.bottoms[0].shape[2:])
    height, width = numbers(layer.bottoms[1].shape[2:])
    if params.has("img_h") or params.has("img_w"):
        height, width = params.integer("img_h"), params.integer("img_w")
    elif params.has("img_size"):
        height = width = params.integer("img_size")
    vertical, horizontal = height / rows, width / columns
    if params.has("step_h") or params.has("step_w"):
        vertical, horizontal = params.real("step_h"), params.real("step_w")
    elif params.has("step"):
        vertical = horizontal = params.real("step")
    if min(height, width, vertical, horizontal) <= 0:
        raise layer.error("has an image size or step that is not positive")
    return _Grid((rows, columns), (height, width), (vertical, horizontal), params.real("offset"))


def _corners(grid: _Grid, sizes: list[tuple[float, float]]) -> Blob:
    """Corners of all boxes: cell by cell in rows, and in a cell box by box."""
    rows, columns = np.indices(grid.cells)
    y = ((rows + grid.offset) * grid.step[0])[..., None]
    x = ((columns + grid.offset) * grid.step[1])[..., None]
    half = np.array(sizes) / 2
    height, width = grid.image
    found = [
        (x - half[:, 0]) / width,
        (y - half[:, 1]) / height,
        (x + half[:, 0]) / width,
        (y + half[:, 1]) / height,
    ]
    return np.stack(found, axis=-1).astype(np.float32).reshape(-1)
