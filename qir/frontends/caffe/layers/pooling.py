"""Pooling by Caffe's rules: sizes are rounded up, and averages count the padding that Caffe counts.

ONNX's own `ceil_mode` differs from Caffe in the divisor of averages, and between versions of runtimes in the
size; here the padding at the end is stated so that rounding down gives Caffe's size.
"""

from __future__ import annotations

from qir.frontends.caffe.blobs import Version
from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, number
from qir.frontends.caffe.windows import Window, read_window
from qir.ir.dtypes import DType
from qir.ir.node import Attribute


def pooling(layer: LayerScope) -> None:
    """Maximum or average over windows, or over everything (global_pooling)."""
    layer.check_counts(1, tops=len(layer.tops))
    params = layer.params("pooling_param")
    method = params.word("pool")
    if method == "STOCHASTIC":
        raise layer.error("pools at random (STOCHASTIC), which ONNX does not have; use MAX or AVE")
    if len(layer.tops) != 1 and (method != "MAX" or len(layer.tops) != 2):
        raise layer.error(f"has {len(layer.tops)} tops; it makes 1, or with MAX 2")
    x = layer.bottoms[0]
    if params.flag("global_pooling"):
        _global(layer, x, method)
        return
    window = read_window(layer, params, x.shape, dilated=False)
    if any(p >= k for p, k in zip(window.pad, window.kernel, strict=True)):
        raise layer.error(
            f"has padding {list(window.pad)}; it must be smaller than kernel {list(window.kernel)}"
        )
    sizes = _pooled(layer, params, window, x.shape)
    shape: Shape = (*x.shape[:2], *sizes)
    ends = _ends(window, x.shape, sizes)
    if method == "MAX":
        _max(layer, x, window, ends, shape)
    else:
        _average(layer, x, window, ends, shape, layer.tops[0])


def _global(layer: LayerScope, x: Tensor, method: str) -> None:
    if len(layer.tops) != 1:
        raise layer.error("has a mask of global pooling, which qir does not read")
    op = "GlobalMaxPool" if method == "MAX" else "GlobalAveragePool"
    layer.add(op, [x], (*x.shape[:2], *[1] * (len(x.shape) - 2)), top=layer.tops[0])


def _pooled(layer: LayerScope, params: Params, window: Window, bottom: Shape) -> tuple[int, ...]:
    """The spatial dimensions of the result; a last window that would begin behind the data is left out."""
    down = params.word("round_mode") == "FLOOR" or not params.flag("ceil_mode")
    found = []
    for i, dim in enumerate(bottom[2:]):
        length, stride, pad = number(dim), window.stride[i], window.pad[i]
        room = length + 2 * pad - window.kernel[i]
        if room < 0:
            raise layer.error(f"has a kernel of {window.kernel[i]} over {length} numbers padded by {pad}")
        count = (room if down else room + stride - 1) // stride + 1
        if any(window.pad) and (count - 1) * stride >= length + pad:
            count -= 1
        if (count - 1) * stride >= length + pad:
            raise layer.error("has a last window that lies behind the data; choose a smaller stride")
        found.append(count)
    return tuple(found)


def _ends(window: Window, bottom: Shape, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The padding at the end of each dimension with which the windows fit exactly, or leave a rest."""
    return tuple(
        max(0, (size - 1) * window.stride[i] + window.kernel[i] - number(bottom[2 + i]) - window.pad[i])
        for i, size in enumerate(sizes)
    )


def _attributes(window: Window, pads: tuple[int, ...]) -> dict[str, Attribute]:
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": pads}


def _max(layer: LayerScope, x: Tensor, window: Window, ends: tuple[int, ...], shape: Shape) -> None:
    attributes = _attributes(window, (*window.pad, *ends))
    if len(layer.tops) == 1:
        layer.add("MaxPool", [x], shape, attributes, top=layer.tops[0])
        return
    # The second top is where in its channel each maximum stands; ONNX counts over the whole tensor.
    results = [(shape, DType.F32, layer.tops[0]), (shape, DType.I64, None)]
    _, places = layer.add_many("MaxPool", [x], results, attributes)
    area = layer.indices([number(x.shape[2]) * number(x.shape[3])], "area")
    inner = layer.add("Mod", [places, area], shape, part="place", dtype=DType.I64)
    layer.add("Cast", [inner], shape, {"to": 1}, part="mask", top=layer.tops[1])


def _average(
    layer: LayerScope, x: Tensor, window: Window, ends: tuple[int, ...], shape: Shape, top: Version
) -> None:
    """Caffe divides by the part of a window that lies on the data or on the padding that was stated.

    What the windows reach beyond that, because sizes are rounded up, is not counted. Where there is such a
    rest, the stated padding becomes part of the data.
    """
    beyond = any(end > pad for end, pad in zip(ends, window.pad, strict=True))
    if not any(window.pad):
        pads, counted = (*window.pad, *ends), 0
    elif not beyond:
        pads, counted = (*window.pad, *ends), 1
    else:
        x = _padded(layer, x, window)
        rest = tuple(max(0, end - pad) for end, pad in zip(ends, window.pad, strict=True))
        pads, counted = (*(0 for _ in window.pad), *rest), 0
    attributes = _attributes(window, pads) | {"count_include_pad": counted}
    layer.add("AveragePool", [x], shape, attributes, top=top)


def _padded(layer: LayerScope, x: Tensor, window: Window) -> Tensor:
    shape: Shape = (
        *x.shape[:2],
        *(number(d) + 2 * p for d, p in zip(x.shape[2:], window.pad, strict=True)),
    )
    pads = layer.indices((0, 0, *window.pad, 0, 0, *window.pad), "pads")
    return layer.add("Pad", [x, pads], shape, part="pad")
