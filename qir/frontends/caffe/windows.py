"""Kernel, stride, padding and dilation of a layer, however its parameters spell them."""

from __future__ import annotations

from dataclasses import dataclass

from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope
from qir.frontends.caffe.shapes import Shape, number
from qir.ir.node import Attribute


@dataclass(frozen=True)
class Window:
    """One number for each spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def attributes(self) -> dict[str, Attribute]:
        """The window of an ONNX convolution, padded alike on both sides."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.stride,
            "pads": (*self.pad, *self.pad),
            "dilations": self.dilation,
        }

    def extent(self, i: int) -> int:
        """What the dilated kernel spans."""
        return self.dilation[i] * (self.kernel[i] - 1) + 1


def read_window(layer: LayerScope, params: Params, bottom: Shape, *, dilated: bool) -> Window:
    """The window over the spatial dimensions of `bottom`, those after the channels."""
    rank = len(bottom) - 2
    if rank < 1:
        raise layer.error(f"slides over a bottom of {len(bottom)} dimensions; it needs 3 or more")
    kernel = _spatial(layer, params, "kernel_size", "kernel", rank)
    if kernel is None:
        raise layer.error("has no kernel_size")
    stride = _spatial(layer, params, "stride", "stride", rank) or (1,) * rank
    pad = _spatial(layer, params, "pad", "pad", rank) or (0,) * rank
    dilation = (_per_dimension(layer, params, "dilation", rank) if dilated else None) or (1,) * rank
    if any(d < 1 for d in (*kernel, *stride, *dilation)):
        raise layer.error(f"has kernel {list(kernel)}, stride {list(stride)}; they must be at least 1")
    return Window(kernel, stride, pad, dilation)


def _spatial(layer: LayerScope, params: Params, name: str, short: str, rank: int) -> tuple[int, ...] | None:
    """A field such as `pad`, or `pad_h` and `pad_w` in its place; None where neither stands in the text."""
    if params.has(f"{short}_h") or params.has(f"{short}_w"):
        if rank != 2:
            raise layer.error(f"has {short}_h and {short}_w, but {rank} spatial dimensions; use {name}")
        if params.integers(name):
            raise layer.error(f"states both {name} and {short}_h, {short}_w; use one of them")
        return params.integer(f"{short}_h"), params.integer(f"{short}_w")
    return _per_dimension(layer, params, name, rank)


def _per_dimension(layer: LayerScope, params: Params, name: str, rank: int) -> tuple[int, ...] | None:
    stated = params.integers(name)
    if len(stated) not in (0, 1, rank):
        raise layer.error(f"has {len(stated)} {name}; it needs one, or one for each of {rank} dimensions")
    return (stated * rank if len(stated) == 1 else stated) or None


def convolved(layer: LayerScope, window: Window, bottom: Shape) -> tuple[int, ...]:
    """The spatial dimensions of a convolution's result; ModelError where the kernel does not fit."""
    found = []
    for i, dim in enumerate(bottom[2:]):
        room = number(dim) + 2 * window.pad[i] - window.extent(i)
        if room < 0:
            raise layer.error(
                f"has a kernel of {window.extent(i)} over {dim} numbers padded by {window.pad[i]}"
            )
        found.append(room // window.stride[i] + 1)
    return tuple(found)


def deconvolved(layer: LayerScope, window: Window, bottom: Shape) -> tuple[int, ...]:
    """The spatial dimensions of a deconvolution's result."""
    found = tuple(
        window.stride[i] * (number(dim) - 1) + window.extent(i) - 2 * window.pad[i]
        for i, dim in enumerate(bottom[2:])
    )
    if min(found) < 1:
        raise layer.error(f"has a result of spatial dimensions {list(found)}")
    return found
