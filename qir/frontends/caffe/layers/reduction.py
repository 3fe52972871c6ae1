"""Layers that reduce axes: Reduction and ArgMax."""

from __future__ import annotations

import numpy as np

from qir.frontends.caffe.blobs import Version
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, number, size
from qir.ir.dtypes import DType

_OPS = {"SUM": "ReduceSum", "ASUM": "ReduceL1", "SUMSQ": "ReduceSumSquare", "MEAN": "ReduceMean"}


def reduction(layer: LayerScope) -> None:
    """Sum, sum of magnitudes, sum of squares or mean over all axes from `axis` on, times a coefficient."""
    x, top = layer.one()
    params = layer.params("reduction_param")
    first = layer.axis(params.integer("axis"), len(x.shape))
    axes, shape = tuple(range(first, len(x.shape))), x.shape[:first]
    op, factor = _OPS[params.word("operation")], params.real("coeff")
    plain = factor == 1
    if op == "ReduceSum":  # the only one that takes its axes as an input in this opset
        inputs = [x.value, layer.indices(axes, "axes")]
        total = layer.add(op, inputs, shape, {"keepdims": 0}, top=top if plain else None)
    else:
        total = layer.add(op, [x], shape, {"axes": axes, "keepdims": 0}, top=top if plain else None)
    if not plain:
        layer.add("Mul", [total, layer.constant(np.float32(factor), "coeff")], shape, part="coeff", top=top)


def arg_max(layer: LayerScope) -> None:
    """Where the largest numbers stand (top_k, best first), with `out_max_val` the numbers too, as float32.

    Without `axis` each image counts as one row, and the result is [N, 1, k], with `out_max_val` [N, 2, k],
    followed by ones up to the rank of the bottom.
    With it the result has k in place of that axis: numbers with `out_max_val`, places without. Of equal
    numbers Caffe takes the last first; so does this for k = 1.
    """
    x, top = layer.one()
    params = layer.params("argmax_param")
    count, values = params.integer("top_k"), params.flag("out_max_val")
    if params.has("axis"):
        axis = layer.axis(params.integer("axis"), len(x.shape))
        _check_count(layer, count, number(x.shape[axis]))
        shape: Shape = tuple(count if i == axis else d for i, d in enumerate(x.shape))
        if values:
            _top(layer, x, axis, count, shape, (top, None))
        else:
            _places(layer, x, axis, count, shape, top)
        return
    rows = size(x.shape[1:])
    _check_count(layer, count, rows)
    ones = (1,) * (len(x.shape) - 3)
    row = layer.indices((0, 1, rows, *ones), "rows")
    flat = layer.add("Reshape", [x, row], (x.shape[0], 1, rows, *ones), part="rows")
    shape = (x.shape[0], 1, count, *ones)
    if not values:
        _places(layer, flat, 2, count, shape, top)
        return
    largest, places = _top(layer, flat, 2, count, shape, (None, None))
    cast = layer.add("Cast", [places], shape, {"to": 1}, part="places")
    layer.add("Concat", [cast, largest], (x.shape[0], 2, count, *ones), {"axis": 1}, part="pairs", top=top)


def _check_count(layer: LayerScope, count: int, limit: int) -> None:
    if not 1 <= count <= limit:
        raise layer.error(f"has top_k {count}, of {limit} numbers")


def _places(layer: LayerScope, x: Tensor, axis: int, count: int, shape: Shape, top: Version) -> None:
    if count == 1:
        attributes = {"axis": axis, "keepdims": 1, "select_last_index": 1}
        places = layer.add("ArgMax", [x], shape, attributes, dtype=DType.I64)
    else:
        _, places = _top(layer, x, axis, count, shape, (None, None))
    layer.add("Cast", [places], shape, {"to": 1}, part="places", top=top)


def _top(
    layer: LayerScope, x: Tensor, axis: int, count: int, shape: Shape, tops: tuple[Version | None, None]
) -> tuple[Tensor, Tensor]:
    results = [(shape, DType.F32, tops[0]), (shape, DType.I64, tops[1])]
    largest, places = layer.add_many(
        "TopK", [x, layer.indices([count], "top_k")], results, {"axis": axis, "largest": 1, "sorted": 1}
    )
    return largest, places
