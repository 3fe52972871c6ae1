"""Reads QuantizeLinear and DequantizeLinear: the factors of each as closed quantization parameters.

    QuantizeLinear:    q = saturate(round(x / scale) + zero_point)
    DequantizeLinear:  x = (q - zero_point) * scale

Parameters are those of the signed type as wide: uint8 q with zero point z is int8 q - 128 with z - 128, which
stands for the same numbers and saturates at the same ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import PassError
from qir.ir.node import Node
from qir.ir.types import QuantParams, QuantSpec

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""com.microsoft has the two ops as well: ONNX Runtime writes them there for 16 bits before opset 21."""
_SIGNED = {
    DType.I4: DType.I4,
    DType.U4: DType.I4,
    DType.I8: DType.I8,
    DType.U8: DType.I8,
    DType.I16: DType.I16,
    DType.U16: DType.I16,
    DType.I32: DType.I32,
}
_OUTPUT_TYPES = {2: DType.U8, 3: DType.I8, 4: DType.U16, 5: DType.I16, 21: DType.U4, 22: DType.I4}
"""Codes of ONNX for attribute `output_dtype`."""


def is_quantize(node: Node | None) -> bool:
    """True for QuantizeLinear."""
    return node is not None and node.op == "QuantizeLinear" and node.domain in DOMAINS


def is_dequantize(node: Node | None) -> bool:
    """True for DequantizeLinear."""
    return node is not None and node.op == "DequantizeLinear" and node.domain in DOMAINS


def factors(node: Node) -> QuantParams | str:
    """The closed parameters of either op, or the reason why a quant cannot have them.

    PassError, naming node and field, for a scale that is not a positive finite number: no quantizer means it.
    """
    scale, zero = node.input(1), node.input(2)
    for field, value in (("scale", scale), ("zero point", zero)):
        if value is not None and value.constant is None:
            return f"the {field} '{value.name}' of '{node.name}' is computed at run time"
    if scale is None or scale.constant is None:
        raise PassError(f"{node.op} '{node.name}' has no scale; repair the model")
    stored = _stored_type(node)
    signed = None if stored is None else signed_type(stored)
    if stored is None or signed is None:
        return f"'{node.name}' stores {'an unknown type' if stored is None else stored.value}, not integers"
    if node.attributes.get("block_size", 0):
        return f"'{node.name}' has one scale for each block of {node.attributes['block_size']} elements"
    if not scale.constant.dtype.is_float or scale.constant.dtype.numpy is None:
        return f"the scale of '{node.name}' is {scale.constant.dtype.value}"
    scales = _checked_scales(node, scale.constant)
    zeros = np.zeros(1, np.int64) if zero is None or zero.constant is None else _integers(zero.constant)
    zeros = zeros - (stored.integer_range[0] - signed.integer_range[0])
    if zeros.size not in (1, scales.size):
        raise PassError(f"{node.op} '{node.name}' has {scales.size} scales but {zeros.size} zero points")
    axis = _axis(node) if scales.size > 1 else None
    return QuantParams.of(QuantSpec(signed, symmetric=not zeros.any(), axis=axis), scales, zeros)


def signed_type(stored: DType) -> DType | None:
    """The signed integer type as wide as `stored`; None for what no quant stores."""
    return _SIGNED.get(stored)


def has_inverse(params: QuantParams) -> bool:
    """True when Ascend can multiply by 1/scale."""
    with np.errstate(all="ignore"):
        inverse = 1 / params.scale_array()
    return bool(np.isfinite(inverse).all() and (inverse > 0).all())


def _stored_type(node: Node) -> DType | None:
    """The type of the integers: that of the zero point, or of DequantizeLinear's input; uint8 by default."""
    zero, first = node.input(2), node.input(0)
    if zero is not None:
        return zero.tensor.dtype
    if node.op == "DequantizeLinear":
        return None if first is None else first.tensor.dtype
    code = node.attributes.get("output_dtype", 0)
    return _OUTPUT_TYPES.get(code) if isinstance(code, int) and code else DType.U8


def _checked_scales(node: Node, held: Constant) -> npt.NDArray[np.float32]:
    scales: npt.NDArray[np.float32] = held.array.reshape(-1).astype(np.float32)
    bad = ~(np.isfinite(scales) & (scales > 0))
    if bad.any() or not scales.size:
        what = f"is {float(scales[bad][0])!r}" if scales.size else "is empty"
        where = f" of channel {int(np.flatnonzero(bad)[0])}" if scales.size > 1 else ""
        raise PassError(
            f"{node.op} '{node.name}': the scale{where} {what}, but must be a positive finite number; "
            "repair the model or export it again"
        )
    return scales


def _integers(held: Constant) -> npt.NDArray[np.int64]:
    """The elements of an integer constant; those of 4 bits lie two in a byte, low nibble first."""
    if held.dtype.numpy is not None:
        wide: npt.NDArray[np.int64] = held.array.reshape(-1).astype(np.int64)
        return wide
    raw = np.frombuffer(held.data.tobytes(), np.uint8)
    nibbles = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: held.size].astype(np.int64)
    return np.where((held.dtype is DType.I4) & (nibbles > 7), nibbles - 16, nibbles)


def _axis(node: Node) -> int:
    """The channel axis counted from the front where the rank is known."""
    found, first = node.attributes.get("axis", 1), node.input(0)
    axis = found if isinstance(found, int) else 1
    shape = None if first is None else first.tensor.shape
    return axis + len(shape) if axis < 0 and shape is not None else axis
