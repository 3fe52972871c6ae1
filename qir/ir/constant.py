"""Constant tensors: immutable, shared between copies of a graph, named in text by a digest."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.types import TensorType


class Constant:
    """The data of a constant tensor; equal when dtype, shape and bytes are equal.

    `data` has the tensor's shape for types that numpy knows (strings: an object array of `bytes`); for an
    opaque type it is a flat uint8 array of the raw bytes. It may be memory-mapped; it is never written to.
    """

    __slots__ = ("_digest", "data", "dtype", "shape")

    def __init__(self, dtype: DType, shape: Sequence[int], data: npt.NDArray[Any]) -> None:
        shape = tuple(map(int, shape))
        if dtype.numpy is None:
            size = (math.prod(shape) * dtype.bits + 7) // 8
            if data.dtype != np.uint8 or data.shape != (size,):
                raise ValueError(
                    f"opaque {dtype.value} data must be {size} uint8, not {data.dtype}{data.shape}"
                )
        elif data.dtype != dtype.numpy or data.shape != shape:
            raise ValueError(f"{dtype.value}{list(shape)} data cannot be {data.dtype}{list(data.shape)}")
        view = data.view()
        view.flags.writeable = False
        self.dtype, self.shape = dtype, shape
        self.data: npt.NDArray[Any] = view
        self._digest: str | None = None

    @staticmethod
    def of(array: npt.ArrayLike) -> Constant:
        """A constant from numbers or an array; strings become UTF-8 bytes."""
        data = np.asarray(array)
        dtype = DType.of(data.dtype)
        if dtype is DType.STR:
            flat = [s.encode() if isinstance(s, str) else bytes(s) for s in data.ravel().tolist()]
            data = np.array([*flat, None], dtype=object)[:-1].reshape(data.shape)
        return Constant(dtype, data.shape, data)

    @property
    def array(self) -> npt.NDArray[Any]:
        """The data as a read-only array; TypeError for an opaque type."""
        if self.dtype.numpy is None:
            raise TypeError(f"a {self.dtype.value} constant has no numpy array")
        array: npt.NDArray[Any] = self.data
        return array

    @property
    def type(self) -> TensorType:
        """The tensor type of this constant."""
        return TensorType(self.dtype, self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over dtype, shape and bytes; the same on every machine."""
        if self._digest is None:
            state = hashlib.blake2b(f"{self.dtype.value}{self.shape}".encode(), digest_size=8)
            if self.dtype is DType.STR:
                for item in self.data.ravel().tolist():
                    state.update(len(item).to_bytes(8, "little") + item)
            else:
                data = self.data.astype(self.data.dtype.newbyteorder("<"), copy=False)
                state.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
            self._digest = state.hexdigest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Constant):
            return NotImplemented
        return self is other or (
            self.dtype is other.dtype and self.shape == other.shape and self.digest == other.digest
        )

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape, self.digest))

    def __repr__(self) -> str:
        return f"Constant({self.dtype.value}{list(self.shape)} #{self.digest})"
