"""Element types of tensors: how each is named in text, stored in numpy, and bounded as an integer."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import numpy.typing as npt


class DType(enum.Enum):
    """An element type. The enum value is its name in IR text.

    Types that numpy lacks (bf16, 8-bit floats, sub-byte types) are *opaque*: their constants are kept as the
    raw little-endian bytes that ONNX defines, packed low nibble first below one byte.

    i5, i6 and i7 exist as types of quantization only: no tensor has them as elements, and what is quantized
    to them is stored one in an int8.
    """

    F32 = "f32"
    F64 = "f64"
    F16 = "f16"
    BF16 = "bf16"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"
    STR = "str"
    C64 = "c64"
    C128 = "c128"
    F8E4M3FN = "f8e4m3fn"
    F8E4M3FNUZ = "f8e4m3fnuz"
    F8E5M2 = "f8e5m2"
    F8E5M2FNUZ = "f8e5m2fnuz"
    F8E8M0 = "f8e8m0"
    F6E2M3 = "f6e2m3"
    F6E3M2 = "f6e3m2"
    F4E2M1 = "f4e2m1"
    I4 = "i4"
    U4 = "u4"
    I2 = "i2"
    U2 = "u2"
    I5 = "i5"
    I6 = "i6"
    I7 = "i7"

    __hash__ = object.__hash__  # members are equal only to themselves; Enum hashes the name, in Python

    @property
    def bits(self) -> int:
        """Bits an element takes in storage (strings: 0, they have no fixed size)."""
        return _BITS[self]

    @property
    def word(self) -> str:
        """As configurations and reports call it: `int8`, `uint8`, `float16`; bool and str as they are."""
        kind = self.value.rstrip("0123456789")
        return _WORDS.get(kind, kind) + self.value[len(kind) :]

    @property
    def numpy(self) -> np.dtype[Any] | None:
        """The numpy type, `object` for strings, or None for an opaque type."""
        return _NUMPY.get(self)

    @property
    def is_float(self) -> bool:
        """True for real floating-point types of any width."""
        return self.value[0] in "fb" and self is not DType.BOOL

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers of any width (not bool)."""
        return self.value[0] in "iu"

    @property
    def is_element(self) -> bool:
        """False for types that only quantizations name: i5, i6, i7."""
        return self not in _QUANTIZED_ONLY

    @property
    def integer_range(self) -> tuple[int, int]:
        """(qmin, qmax) of an integer type: int8 gives (-128, 127)."""
        if not self.is_integer:
            raise ValueError(f"{self.value} is not an integer type")
        if self.value[0] == "u":
            return 0, (1 << self.bits) - 1
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

    @staticmethod
    def of(dtype: npt.DTypeLike) -> DType:
        """The element type of a numpy dtype; TypeError when there is none."""
        kind = np.dtype(dtype)
        found = _OF_NUMPY.get(kind)
        if found is None and kind.kind in "US":
            return DType.STR
        if found is None:
            raise TypeError(f"numpy type {kind} has no tensor element type")
        return found


_WORDS = {"i": "int", "u": "uint", "f": "float", "bf": "bfloat"}
_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F32: np.dtype(np.float32),
    DType.F64: np.dtype(np.float64),
    DType.F16: np.dtype(np.float16),
    DType.I8: np.dtype(np.int8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.U8: np.dtype(np.uint8),
    DType.U16: np.dtype(np.uint16),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.BOOL: np.dtype(np.bool_),
    DType.STR: np.dtype(object),
    DType.C64: np.dtype(np.complex64),
    DType.C128: np.dtype(np.complex128),
}
_OF_NUMPY = {kind: dtype for dtype, kind in _NUMPY.items()}
_OPAQUE_BITS = {
    DType.BF16: 16,
    DType.F8E4M3FN: 8,
    DType.F8E4M3FNUZ: 8,
    DType.F8E5M2: 8,
    DType.F8E5M2FNUZ: 8,
    DType.F8E8M0: 8,
    DType.F6E2M3: 6,
    DType.F6E3M2: 6,
    DType.F4E2M1: 4,
    DType.I4: 4,
    DType.U4: 4,
    DType.I2: 2,
    DType.U2: 2,
}
_QUANTIZED_ONLY = {DType.I5: 5, DType.I6: 6, DType.I7: 7}
_BITS = {**{d: n.itemsize * 8 for d, n in _NUMPY.items()}, **_OPAQUE_BITS, **_QUANTIZED_ONLY, DType.STR: 0}
