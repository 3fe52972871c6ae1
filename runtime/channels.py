"""The channel axis of a tensor brought to the front, and back."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qir.ir.errors import PassError
from qir.ir.types import QuantSpec

T = TypeVar("T", bound=np.generic)


def channels_first(array: npt.NDArray[T], spec: QuantSpec) -> npt.NDArray[T]:
    """The array as a contiguous matrix [C, n], one row per scale of `spec`; C is 1 when the spec is per
    tensor.

    Weights of a grouped ConvTranspose, [Cin, Cout/groups, k…] with axis 1, give one row per output channel:
    row g * Cout/groups + j holds index j of the g-th block of input channels. PassError when the spec does
    not fit.
    """
    if spec.axis is None:
        return np.ascontiguousarray(array).reshape(1, -1)
    axis = _checked_axis(array.shape, spec)
    blocks = array.reshape(spec.groups, -1, *array.shape[1:]) if spec.groups > 1 else array[None]
    rows = np.moveaxis(blocks, axis + 1, 1)
    return np.ascontiguousarray(rows).reshape(spec.channels(array.shape), -1)


def channels_back(matrix: npt.NDArray[T], shape: tuple[int, ...], spec: QuantSpec) -> npt.NDArray[T]:
    """The inverse: a matrix [C, n] as a contiguous array of the original `shape`."""
    if spec.axis is None:
        return matrix.reshape(shape)
    axis = _checked_axis(shape, spec)
    block = (shape[0] // spec.groups, *shape[1:])
    moved = (block[axis], *block[:axis], *block[axis + 1 :])
    blocks = np.moveaxis(matrix.reshape(spec.groups, *moved), 1, axis + 1)
    return np.ascontiguousarray(blocks).reshape(shape)


def _checked_axis(shape: tuple[int, ...], spec: QuantSpec) -> int:
    """The axis counted from the front."""
    axis = spec.axis if spec.axis is not None else 0
    if not -len(shape) <= axis < len(shape):
        raise PassError(f"a tensor of shape {list(shape)} has no channel axis {axis}")
    axis %= len(shape)
    if spec.groups > 1 and (axis == 0 or shape[0] % spec.groups):
        raise PassError(
            f"a tensor of shape {list(shape)} with channel axis {axis} cannot be split into "
            f"{spec.groups} groups along axis 0"
        )
    return axis
