"""Element types in the words of configurations: `int8`, `uint8`, `float32`."""

from __future__ import annotations

from qir.ir.dtypes import DType
from qir.ir.node import Value
from qir.ir.types import QuantParams, QuantSpec, TensorType

_KINDS = {"i": "int", "u": "uint", "f": "float", "bf": "bfloat"}


def type_word(value: Value) -> str:
    """How a value is stored: quantized, or as its element type; float32 where that is unknown."""
    if not isinstance(value.type, TensorType):
        return "float32"
    quant = value.tensor.quant
    if isinstance(quant, QuantParams):
        return dtype_word(quant.spec.qtype)
    return dtype_word(quant.qtype if isinstance(quant, QuantSpec) else value.tensor.dtype or DType.F32)


def dtype_word(dtype: DType) -> str:
    """`i8` is `int8`; a type without bits in its name is itself."""
    text: str = dtype.value
    kind = text.rstrip("0123456789")
    return _KINDS.get(kind, kind) + text[len(kind) :]


def is_float(value: Value) -> bool:
    """True for tensors of floats, quantized or not."""
    dtype = value.tensor.dtype if isinstance(value.type, TensorType) else None
    return dtype is not None and dtype.is_float
