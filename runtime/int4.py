"""INT4 weights as Ascend stores them: two neighbouring input channels in one int8, low nibble first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]


def pack_int4(integers: npt.NDArray[Any], axis: int) -> Int8:
    """Integers in [-8, 7] packed along `axis`, whose length must be even; it becomes half as long.

    The element with the even index is the low nibble of a byte. ValueError for an odd length. Source: AMCT's
    deploy models.
    """
    if integers.shape[axis] % 2:
        raise ValueError(f"axis {axis} of shape {list(integers.shape)} is odd; INT4 is packed in pairs")
    rows = np.moveaxis(integers.astype(np.int8), axis, 0).view(np.uint8)
    packed = (rows[0::2] & 15) | (rows[1::2] << 4)
    return np.ascontiguousarray(np.moveaxis(packed, 0, axis)).view(np.int8)


def unpack_int4(packed: Int8, axis: int) -> Int8:
    """The inverse of `pack_int4`: integers in [-8, 7], twice as many along `axis`."""
    rows = np.moveaxis(packed, axis, 0)
    halves = np.stack([(rows << 4) >> 4, rows >> 4], axis=1)  # shifting int8 right keeps the sign
    flat = halves.reshape(2 * rows.shape[0], *rows.shape[1:])
    return np.ascontiguousarray(np.moveaxis(flat, 0, axis))
