"""Element types in the words of configurations: `int8`, `uint8`, `float32`."""

from __future__ import annotations

from qir.ir.dtypes import DType
from qir.ir.node import Value
from qir.ir.quants import value_precision
from qir.ir.types import TensorType


def type_word(value: Value) -> str:
    """How a value is stored: quantized, or as its element type; float32 where that is unknown."""
    if not isinstance(value.type, TensorType):
        return "float32"
    precision = value_precision(value)
    return (value.tensor.dtype or DType.F32).word if precision is None else precision.name


def is_float(value: Value) -> bool:
    """True for tensors of floats, quantized or not."""
    dtype = value.tensor.dtype if isinstance(value.type, TensorType) else None
    return dtype is not None and dtype.is_float
