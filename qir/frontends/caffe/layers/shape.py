"""Layers that move numbers and change shapes, but compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import FixedBatchNeeded, Shape, number, size, text_of
from qir.ir.dtypes import DType


def concat(layer: LayerScope) -> None:
    """Blobs in a row along one axis."""
    layer.check_counts(1, -1)
    params = layer.params("concat_param")
    first = layer.bottoms[0].shape
    stated = params.integer("concat_dim") if params.has("concat_dim") else params.integer("axis")
    axis = layer.axis(stated, len(first))
    for bottom in layer.bottoms[1:]:
        if len(bottom.shape) != len(first) or _without(bottom.shape, axis) != _without(first, axis):
            raise layer.error(
                f"has bottoms of shapes {text_of(first)} and {text_of(bottom.shape)}; all but axis {axis} "
                "must be equal"
            )
    total = sum(number(bottom.shape[axis]) for bottom in layer.bottoms)
    shape: Shape = (*first[:axis], total, *first[axis + 1 :])
    layer.add("Concat", layer.bottoms, shape, {"axis": axis}, top=layer.tops[0])


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def slice_blob(layer: LayerScope) -> None:
    """Slice: parts along one axis, cut at the points that are stated, or equal ones."""
    layer.check_counts(1, tops=len(layer.tops))
    params = layer.params("slice_param")
    x = layer.bottoms[0]
    stated = params.integer("slice_dim") if params.has("slice_dim") else params.integer("axis")
    axis = layer.axis(stated, len(x.shape))
    total, count, points = number(x.shape[axis]), len(layer.tops), params.integers("slice_point")
    if points:
        if len(points) != count - 1:
            raise layer.error(f"has {len(points)} slice points for {count} tops")
        edges = (0, *points, total)
        parts = [b - a for a, b in pairwise(edges)]
        if min(parts) < 1:
            raise layer.error(f"has slice points {list(points)}, which do not cut {total} into parts")
    else:
        if total % count:
            raise layer.error(f"cuts {total} into {count} equal parts")
        parts = [total // count] * count
    results = [
        ((*x.shape[:axis], part, *x.shape[axis + 1 :]), DType.F32, top)
        for part, top in zip(parts, layer.tops, strict=True)
    ]
    layer.add_many("Split", [x, layer.indices(parts, "split")], results, {"axis": axis})


def flatten(layer: LayerScope) -> None:
    """The axes from `axis` to `end_axis` become one."""
    x, top = layer.one()
    params = layer.params("flatten_param")
    rank = len(x.shape)
    first = layer.axis(params.integer("axis"), rank)
    last = layer.axis(params.integer("end_axis"), rank)
    if last < first:
        raise layer.error(f"flattens from axis {first} to axis {last}")
    if (first, last) == (1, rank - 1):
        layer.add("Flatten", [x], (x.shape[0], size(x.shape[1:])), {"axis": 1}, top=top)
        return
    lumped = size(x.shape[first : last + 1])
    _reshape(layer, x, (*x.shape[:first], lumped, *x.shape[last + 1 :]))


def reshape(layer: LayerScope) -> None:
    """The axes from `axis` on, `num_axes` of them, get another shape: 0 is the bottom's, -1 what is left."""
    x, _ = layer.one()
    params = layer.params("reshape_param")
    rank, wanted = len(x.shape), params.part("shape").integers("dim")
    stated, count = params.integer("axis"), params.integer("num_axes")
    first = layer.axis(stated if stated >= 0 else stated + rank + 1, rank, rank + 1)
    end = rank if count == -1 else first + count
    if end > rank:
        raise layer.error(f"reshapes {count} axes from axis {first}, but its bottom has {rank} dimensions")
    if wanted.count(-1) > 1 or any(d < -1 for d in wanted):
        raise layer.error(f"has shape {list(wanted)}; dimensions are at least 0, and one may be -1")
    middle: list[int | str | None] = []
    for i, dim in enumerate(wanted):
        if dim == 0 and first + i >= rank:
            raise layer.error(f"copies dimension {first + i}, but its bottom has {rank}")
        middle.append(x.shape[first + i] if dim == 0 else dim)
    _reshape(layer, x, _inferred(layer, x.shape, (*x.shape[:first], *middle, *x.shape[end:])))


def _inferred(layer: LayerScope, before: Shape, after: Shape) -> Shape:
    """`after` with a number in place of -1; a symbol that both have cancels."""
    known, source = list(after), list(before)
    for dim in before:
        if isinstance(dim, str) and dim in known:
            known.remove(dim)
            source.remove(dim)
    total, rest = size(source), size([d for d in known if d != -1])
    if -1 in known:
        if rest == 0 or total % rest:
            raise layer.error(f"cannot bring {text_of(before)} into shape {text_of(after)}")
        return tuple(total // rest if d == -1 else d for d in after)
    if total != rest:
        raise layer.error(f"cannot bring {text_of(before)} into shape {text_of(after)}")
    return after


def _reshape(layer: LayerScope, x: Tensor, shape: Shape) -> None:
    """A Reshape that holds for every batch: 0 where a dimension stays in its place."""
    target = [0 if i < len(x.shape) and d == x.shape[i] else d for i, d in enumerate(shape)]
    symbols = [i for i, d in enumerate(target) if isinstance(d, str)]
    if len(symbols) > 1:
        raise FixedBatchNeeded
    for i in symbols:
        target[i] = -1
    layer.add("Reshape", [x, layer.indices([number(d) for d in target], "shape")], shape, top=layer.tops[0])


def permute(layer: LayerScope) -> None:
    """Axes in another order; those that are not named follow in their own."""
    x, top = layer.one()
    order = layer.params("permute_param").integers("order")
    rank = len(x.shape)
    if len(set(order)) != len(order) or any(i >= rank for i in order):
        raise layer.error(f"has order {list(order)}; it must name each of {rank} axes at most once")
    order += tuple(i for i in range(rank) if i not in order)
    layer.add("Transpose", [x], tuple(x.shape[i] for i in order), {"perm": order}, top=top)


def crop(layer: LayerScope) -> None:
    """The part of the first bottom, from offsets on, that is as large as the second."""
    layer.check_counts(2)
    x, reference = layer.bottoms
    params = layer.params("crop_param")
    axis = layer.axis(params.integer("axis"), len(x.shape))
    stated = params.integers("offset")
    cropped = range(axis, len(x.shape))
    if len(stated) not in (0, 1, len(cropped)):
        raise layer.error(f"has {len(stated)} offsets for {len(cropped)} axes")
    if len(reference.shape) != len(x.shape):
        raise layer.error(f"has bottoms of {len(x.shape)} and {len(reference.shape)} dimensions")
    offsets = stated if len(stated) == len(cropped) else (stated or (0,)) * len(cropped)
    shape: Shape = (*x.shape[:axis], *reference.shape[axis:])
    kept = [i for i in cropped if shape[i] != x.shape[i] or offsets[i - axis]]
    starts = [offsets[i - axis] for i in kept]
    ends = [start + number(shape[i]) for start, i in zip(starts, kept, strict=True)]
    for i, end in zip(kept, ends, strict=True):
        if end > number(x.shape[i]):
            raise layer.error(f"crops axis {i} to {end}, but it has {x.shape[i]}")
    named = {"starts": starts, "ends": ends, "axes": kept}
    operands = [layer.indices(data, part) for part, data in named.items()]
    if kept:
        layer.add("Slice", [x, *operands], shape, top=layer.tops[0])
    else:
        layer.add("Identity", [x], shape, top=layer.tops[0])


def tile(layer: LayerScope) -> None:
    """The blob several times in a row along one axis."""
    x, top = layer.one()
    params = layer.params("tile_param")
    axis, tiles = layer.axis(params.integer("axis"), len(x.shape)), params.integer("tiles")
    if tiles < 1:
        raise layer.error("has no tiles")
    repeats = layer.indices(_only(x.shape, axis, tiles), "repeats")
    shape: Shape = (*x.shape[:axis], number(x.shape[axis]) * tiles, *x.shape[axis + 1 :])
    layer.add("Tile", [x, repeats], shape, top=top)


def _only(shape: Shape, axis: int, times: int) -> Sequence[int]:
    return [times if i == axis else 1 for i in range(len(shape))]


def shuffle_channel(layer: LayerScope) -> None:
    """Channels as a matrix with a row for each group, transposed."""
    x, top = layer.one()
    group, channels = layer.params("shuffle_channel_param").integer("group"), number(x.shape[1])
    if group < 1 or channels % group:
        raise layer.error(f"has group {group}, which does not divide {channels} channels")
    area = size(x.shape[2:])
    matrix = (group, channels // group, area)
    split = layer.add("Reshape", [x, layer.indices((0, *matrix), "rows")], (x.shape[0], *matrix), part="rows")
    columns: Shape = (x.shape[0], channels // group, group, area)
    turned = layer.add("Transpose", [split], columns, {"perm": (0, 2, 1, 3)}, part="columns")
    back = layer.indices((0, *map(number, x.shape[1:])), "shape")
    layer.add("Reshape", [turned, back], x.shape, top=top)
