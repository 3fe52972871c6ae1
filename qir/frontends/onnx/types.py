"""Types of ONNX values to types of the IR and back."""

from __future__ import annotations

import onnx

from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.types import (
    UNKNOWN,
    Dim,
    MapType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
)

CODES: dict[DType, int] = {
    DType.F32: 1,
    DType.U8: 2,
    DType.I8: 3,
    DType.U16: 4,
    DType.I16: 5,
    DType.I32: 6,
    DType.I64: 7,
    DType.STR: 8,
    DType.BOOL: 9,
    DType.F16: 10,
    DType.F64: 11,
    DType.U32: 12,
    DType.U64: 13,
    DType.C64: 14,
    DType.C128: 15,
    DType.BF16: 16,
    DType.F8E4M3FN: 17,
    DType.F8E4M3FNUZ: 18,
    DType.F8E5M2: 19,
    DType.F8E5M2FNUZ: 20,
    DType.U4: 21,
    DType.I4: 22,
    DType.F4E2M1: 23,
    DType.F8E8M0: 24,
    DType.U2: 25,
    DType.I2: 26,
    DType.F6E2M3: 27,
    DType.F6E3M2: 28,
}
"""TensorProto.DataType numbers; written out because older onnx packages lack the newest names."""
_DTYPES = {code: dtype for dtype, code in CODES.items()}


def dtype_of(code: int, where: str) -> DType:
    """The element type of a TensorProto.DataType number; ModelError when there is none."""
    found = _DTYPES.get(code)
    if found is None:
        raise ModelError(f"{where} has element type number {code}, which ONNX does not define")
    return found


def read_type(proto: onnx.TypeProto, where: str) -> Type:
    """A type; what is missing or (opaque types of ONNX-ML) has no form in the IR is UNKNOWN."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return TensorType(*_element_and_shape(proto.tensor_type, where))
    if kind == "sparse_tensor_type":
        return SparseTensorType(*_element_and_shape(proto.sparse_tensor_type, where))
    if kind == "sequence_type":
        return SequenceType(read_type(proto.sequence_type.elem_type, where))
    if kind == "optional_type":
        return OptionalType(read_type(proto.optional_type.elem_type, where))
    if kind == "map_type":
        key = dtype_of(proto.map_type.key_type, where)
        return MapType(key, read_type(proto.map_type.value_type, where))
    return UNKNOWN


def _element_and_shape(
    proto: onnx.TypeProto.Tensor | onnx.TypeProto.SparseTensor, where: str
) -> tuple[DType | None, tuple[Dim, ...] | None]:
    dtype = dtype_of(proto.elem_type, where) if proto.elem_type else None
    shape = tuple(_read_dim(d) for d in proto.shape.dim) if proto.HasField("shape") else None
    return dtype, shape


def _read_dim(proto: onnx.TensorShapeProto.Dimension) -> Dim:
    kind = proto.WhichOneof("value")
    if kind == "dim_value":
        return proto.dim_value if proto.dim_value >= 0 else None  # some exporters write -1 for "any"
    return proto.dim_param or None if kind == "dim_param" else None


def is_writable(kind: Type) -> bool:
    """True when ONNX can state this type: it has no place for a shape without an element type."""
    if isinstance(kind, (TensorType, SparseTensorType)):
        return kind.dtype is not None
    return is_writable(kind.value if isinstance(kind, MapType) else kind.element)


def write_type(kind: Type, proto: onnx.TypeProto) -> None:
    """Fill `proto` with a type for which `is_writable` holds."""
    if isinstance(kind, TensorType):
        _write_tensor(kind.dtype, kind.shape, proto.tensor_type)
    elif isinstance(kind, SparseTensorType):
        _write_tensor(kind.dtype, kind.shape, proto.sparse_tensor_type)
    elif isinstance(kind, SequenceType):
        proto.sequence_type.SetInParent()
        write_type(kind.element, proto.sequence_type.elem_type)
    elif isinstance(kind, OptionalType):
        proto.optional_type.SetInParent()
        write_type(kind.element, proto.optional_type.elem_type)
    else:
        proto.map_type.key_type = CODES[kind.key]
        write_type(kind.value, proto.map_type.value_type)


def _write_tensor(
    dtype: DType | None,
    shape: tuple[Dim, ...] | None,
    proto: onnx.TypeProto.Tensor | onnx.TypeProto.SparseTensor,
) -> None:
    proto.elem_type = 0 if dtype is None else CODES[dtype]
    if shape is None:
        return
    proto.shape.SetInParent()
    for dim in shape:
        made = proto.shape.dim.add()
        if isinstance(dim, int):
            made.dim_value = dim
        elif dim is not None:
            made.dim_param = dim


def merge_types(known: Type, found: Type) -> Type:
    """What `known` says, completed where it is silent by `found`; a quantization stays that of `known`."""
    if isinstance(known, TensorType) and isinstance(found, TensorType):
        return TensorType(known.dtype or found.dtype, merge_shapes(known.shape, found.shape), known.quant)
    if known == UNKNOWN:
        return found
    if isinstance(known, SparseTensorType) and isinstance(found, SparseTensorType):
        return SparseTensorType(known.dtype or found.dtype, merge_shapes(known.shape, found.shape))
    if isinstance(known, SequenceType) and isinstance(found, SequenceType):
        return SequenceType(merge_types(known.element, found.element))
    if isinstance(known, OptionalType) and isinstance(found, OptionalType):
        return OptionalType(merge_types(known.element, found.element))
    if isinstance(known, MapType) and isinstance(found, MapType) and known.key is found.key:
        return MapType(known.key, merge_types(known.value, found.value))
    return known


def merge_shapes(known: tuple[Dim, ...] | None, found: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    """`known` with its unknown dimensions, and symbols for which `found` has a number, taken from `found`."""
    if known is None:
        return found
    if found is None or len(found) != len(known):
        return known
    return tuple(
        b if a is None or (isinstance(a, str) and isinstance(b, int)) else a
        for a, b in zip(known, found, strict=True)
    )
