"""Rules on the constants of a quantized layer: int8 weights, int32 biases, uint64 parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qir.backends.ascend.check.finding import Finding
from qir.backends.ascend.check.structure import DEQUANT, DeployGraph, DeployLayer, array_of, shape_of
from qir.ir.dtypes import DType
from qir.ir.node import Node, Value

_SCALE_BITS, _SHIFT, _OFFSET, _REST = 0xFFFFFFFF, 32, 40, 48


def weights(deploy: DeployGraph) -> Iterator[Finding]:
    """The weight of a quantized layer is an int8 constant."""
    for layer in deploy.layers:
        weight = layer.weight
        if layer.node.op == "AveragePool":
            continue
        if weight is None:
            yield _finding(layer.node, f"{layer.node.op} reads integers but has no weight", "add its weight")
        elif array_of(weight) is None:
            yield _finding(
                layer.node,
                f"its weight '{weight.name}' is computed at run time",
                "store it as an int8 constant, or leave the layer in float",
            )
        elif _dtype(weight) is not DType.I8:
            yield _finding(
                layer.node,
                f"its weight '{weight.name}' is {_name(weight)}",
                "store int8: a float weight beside quantized data is not compiled",
            )


def biases(deploy: DeployGraph) -> Iterator[Finding]:
    """The bias is an int32 constant with one entry for each output channel."""
    for layer in deploy.layers:
        bias = layer.bias
        if bias is None:
            continue
        if array_of(bias) is None:
            yield _finding(
                layer.node, f"its bias '{bias.name}' is computed at run time", "store it as an int32 constant"
            )
            continue
        if _dtype(bias) is not DType.I32:
            yield _finding(
                layer.node,
                f"its bias '{bias.name}' is {_name(bias)}",
                "store int32: round(bias / (scale_x * scale_w))",
            )
        shape, channels = shape_of(bias), layer.channels
        if channels is not None and shape != (channels,):
            yield _finding(
                layer.node,
                f"its bias '{bias.name}' has shape {_list(shape)}, its weight {channels} output channels",
                f"store one bias for each channel: shape [{channels}]",
            )


def dequant_params(deploy: DeployGraph) -> Iterator[Finding]:
    """AscendDequant reads uint64 constants: one, or one for each channel; each a positive float32 scale."""
    layers = {layer.dequant: layer for layer in deploy.layers if layer.dequant is not None}
    for node in deploy.of_op(DEQUANT):
        value = node.input(1)
        if value is None:
            yield _finding(node, "it has no parameter (input 1)", "add a uint64 constant of packed scales")
        elif array_of(value) is None:
            yield _finding(
                node, f"its parameter '{value.name}' is computed at run time", "store it as a uint64 constant"
            )
        elif _dtype(value) is not DType.U64:
            yield _finding(
                node,
                f"its parameter '{value.name}' is {_name(value)}",
                "store uint64: float32 bits of the scale below, shift and offset above",
            )
        else:
            yield from _param_shape(node, value, layers.get(node))
            yield from _param_content(node, value)


def _param_shape(node: Node, value: Value, layer: DeployLayer | None) -> Iterator[Finding]:
    shape = shape_of(value)
    channels = None if layer is None else layer.channels
    allowed = [1] if channels is None else list(dict.fromkeys((1, channels)))
    fits = shape is not None and len(shape) == 1
    fits = fits and shape is not None and (layer is None or shape[0] in allowed)
    if not fits:
        yield _finding(
            node,
            f"its parameter '{value.name}' has shape {_list(shape)}",
            f"store a vector of {' or '.join(map(str, allowed))} entries",
        )
    elif layer is not None and shape == (1,) and layer.node.op in ("Conv", "ConvTranspose") and channels != 1:
        yield Finding(
            "info",
            "operand",
            node.name,
            f"{layer.node.op} '{layer.node.name}' has {channels} channels and one scale",
            "scales for each channel are more accurate: quantize the weight per channel",
        )


def _param_content(node: Node, value: Value) -> Iterator[Finding]:
    packed = array_of(value)
    assert packed is not None
    packed = packed.reshape(-1)
    scale = (packed & np.uint64(_SCALE_BITS)).astype(np.uint32).view(np.float32)
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if bad.size:
        yield _finding(
            node,
            f"the scale of channel {bad[0]} in '{value.name}' is {scale[bad[0]]}"
            + (f" ({bad.size} of {scale.size} are wrong)" if bad.size > 1 else ""),
            "bits 31..0 hold scale_x * scale_w, a positive finite float32: quantize the layer again",
        )
    shifts = packed >> np.uint64(_SHIFT) & np.uint64(0xFF)
    if shifts.any():
        yield Finding(
            "info",
            "operand",
            node.name,
            f"'{value.name}' shifts by up to {int(shifts.max())} bits",
            "sums are clipped to 16 bits then; only joint quantization needs it",
        )
    if (packed >> np.uint64(_OFFSET) & np.uint64(0xFF)).any():
        yield _finding(
            node, f"'{value.name}' has a weight offset", "set bits 47..40 to 0: weights are symmetric"
        )
    if (packed >> np.uint64(_REST)).any():
        yield _finding(
            node,
            f"'{value.name}' has bits above 47 set, which AscendDequant does not define",
            "store float32 bits of the scale in bits 31..0 and zeros above",
        )


def _dtype(value: Value) -> DType | None:
    array = array_of(value)
    return value.tensor.dtype if array is None else DType.of(array.dtype)


def _name(value: Value) -> str:
    dtype = _dtype(value)
    return "of unknown type" if dtype is None else dtype.value


def _list(shape: tuple[int, ...] | None) -> str:
    return "of unknown rank" if shape is None else str(list(shape))


def _finding(node: Node, sentence: str, cure: str) -> Finding:
    return Finding("error", "operand", node.name, sentence, cure)
