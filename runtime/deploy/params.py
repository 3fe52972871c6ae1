"""The uint64 parameters of AscendDequant: how scale, shift and weight offset are packed, and unpacked.

    bits 31:0   the float32 bits of scale_x * scale_w[c]
    bits 39:32  N, by how many bits the accumulator is shifted right before it is scaled
    bits 47:40  offset_w, the zero point of the weights (int8)

Source: AMCT's packing (its deploy models have N = offset_w = 0, so the number is the float's bit pattern).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ModelError

_SHIFT_AT, _OFFSET_AT, _END = 32, 40, 48
_BYTE = 0xFF
_LONGEST_SHIFT = 31  # an int32 has no more bits to lose


@dataclass(frozen=True)
class DequantParams:
    """What AscendDequant does per channel; three arrays of one length, 1 or the number of channels."""

    scale: npt.NDArray[np.float32]
    shift: npt.NDArray[np.int64]
    weight_offset: npt.NDArray[np.int64]


def pack_params(
    scale: npt.NDArray[np.float32], shift: npt.ArrayLike = 0, weight_offset: npt.ArrayLike = 0
) -> npt.NDArray[np.uint64]:
    """Parameters as AscendDequant reads them, in the shape of `scale`."""
    bits = np.ascontiguousarray(scale, np.float32).view(np.uint32).astype(np.uint64)
    shifts = np.asarray(shift).astype(np.uint64) & np.uint64(_BYTE)
    offsets = np.asarray(weight_offset).astype(np.int64).astype(np.uint64) & np.uint64(_BYTE)
    packed: npt.NDArray[np.uint64] = bits | shifts << np.uint64(_SHIFT_AT) | offsets << np.uint64(_OFFSET_AT)
    return packed


def unpack_params(packed: npt.NDArray[np.uint64], layer: str) -> DequantParams:
    """The parameters of AscendDequant `layer`; ModelError when a field has no meaning, naming it."""
    flat = packed.reshape(-1)
    scale = (flat & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    shift = (flat >> np.uint64(_SHIFT_AT) & np.uint64(_BYTE)).astype(np.int64)
    offset = (flat >> np.uint64(_OFFSET_AT) & np.uint64(_BYTE)).astype(np.uint8).view(np.int8)
    where = f"the parameters of AscendDequant '{layer}'"
    bad = np.flatnonzero(~(np.isfinite(scale) & (scale > 0)))
    if bad.size:
        raise ModelError(
            f"{where}: the scale of channel {bad[0]} is {scale[bad[0]]}; it must be a positive finite number"
        )
    if (flat >> np.uint64(_END)).any():
        raise ModelError(f"{where}: bits 63:48 are set, which mean nothing; only bits 47:0 are used")
    if (shift > _LONGEST_SHIFT).any():
        raise ModelError(f"{where}: shift N (bits 39:32) is {shift.max()}; the most is {_LONGEST_SHIFT}")
    return DequantParams(scale, shift, offset.astype(np.int64))
