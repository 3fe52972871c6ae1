"""Tensors of ONNX to constants of the IR and back; sparse ones become dense, as ONNX Runtime makes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from qir.frontends.onnx.external import ExternalData
from qir.frontends.onnx.types import CODES, dtype_of
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError


def read_tensor(proto: onnx.TensorProto, where: str, external: ExternalData) -> Constant:
    """A constant, memory-mapped where its data are external.

    Raises ModelError when the data do not fill the shape, or as `ExternalData.read` does.
    """
    if proto.HasField("segment"):
        raise ModelError(f"{where} is stored in segments; save the model again with whole tensors")
    dtype = dtype_of(proto.data_type, where)
    shape = tuple(proto.dims)
    if any(d < 0 for d in shape):
        raise ModelError(f"{where} has a negative dimension: {list(shape)}")
    if dtype is DType.STR:
        return _read_strings(proto, shape, where)
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        data = external.read(proto, where)
    elif proto.HasField("raw_data"):
        data = np.frombuffer(proto.raw_data, np.uint8)
    else:
        data = _read_fields(proto, dtype)
    size = (math.prod(shape) * dtype.bits + 7) // 8
    if data.size != size:
        raise ModelError(
            f"{where} holds {data.size} bytes, but {dtype.value}{list(shape)} takes {size}: "
            "the file is damaged"
        )
    if dtype.numpy is None:
        return Constant(dtype, shape, data)
    typed = data.view(dtype.numpy.newbyteorder("<")).astype(dtype.numpy, copy=False)
    if not typed.flags.aligned:  # external data at an odd offset
        typed = typed.copy()
    return Constant(dtype, shape, typed.reshape(shape))


def _read_strings(proto: onnx.TensorProto, shape: tuple[int, ...], where: str) -> Constant:
    items = list(proto.string_data)
    if len(items) != int(np.prod(shape, dtype=np.int64)):
        raise ModelError(f"{where} holds {len(items)} strings for the shape {list(shape)}")
    flat = np.empty(len(items), object)
    flat[:] = items
    return Constant(DType.STR, shape, flat.reshape(shape))


def _read_fields(proto: onnx.TensorProto, dtype: DType) -> npt.NDArray[np.uint8]:
    """The bytes of a tensor that is stored in one of the typed fields instead of `raw_data`."""
    array: npt.NDArray[Any]
    if dtype in (DType.F32, DType.C64):
        array = np.array(proto.float_data, "<f4")
    elif dtype in (DType.F64, DType.C128):
        array = np.array(proto.double_data, "<f8")
    elif dtype is DType.I64:
        array = np.array(proto.int64_data, "<i8")
    elif dtype in (DType.U32, DType.U64):
        array = np.array(proto.uint64_data, "<u8").astype(f"<u{dtype.bits // 8}")
    elif dtype.bits == 6:  # one 6-bit code an entry, unlike `raw_data`, which is a packed bit stream
        codes = np.array(proto.int32_data, "<i4").astype(np.uint8)
        bits = np.unpackbits(codes[:, None], axis=1, count=6, bitorder="little")
        return np.packbits(bits.reshape(-1), bitorder="little")
    else:  # below a byte each entry is one packed byte; int32_data may come sign- or zero-extended
        array = np.array(proto.int32_data, "<i4").astype(f"<u{max(dtype.bits, 8) // 8}")
    return array.view(np.uint8)


def read_sparse(proto: onnx.SparseTensorProto, where: str, external: ExternalData) -> Constant:
    """The dense constant that a sparse tensor stands for (absent elements are zero).

    ModelError for a form that is none of ONNX, and indices outside the shape.
    """
    values = read_tensor(proto.values, where, external)
    indices = read_tensor(proto.indices, f"{where} (indices)", external).array
    shape = tuple(proto.dims)
    if values.dtype.numpy is None or indices.ndim not in (1, 2):
        raise ModelError(f"{where} is a sparse {values.dtype.value} tensor of a form that qir cannot read")
    dense = np.zeros(shape, values.dtype.numpy)
    if values.dtype is DType.STR:
        dense.fill(b"")
    try:
        at = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
        dense.reshape(-1)[at] = values.array.reshape(-1)
    except (IndexError, ValueError) as error:
        raise ModelError(f"{where} has sparse indices outside its shape {list(shape)}: {error}") from None
    return Constant(values.dtype, shape, dense)


def write_sparse(constant: Constant, proto: onnx.SparseTensorProto) -> None:
    """Fill `proto` with the elements of a constant that are not zero."""
    flat = constant.array.reshape(-1)
    at = np.flatnonzero(flat)
    proto.dims.extend(constant.shape)
    write_tensor(Constant(constant.dtype, at.shape, flat[at]), proto.values)
    write_tensor(Constant.of(at.astype(np.int64)), proto.indices)


def write_tensor(constant: Constant, proto: onnx.TensorProto, name: str = "") -> None:
    """Fill `proto` with a constant; the data go into `raw_data` (strings into `string_data`)."""
    describe_tensor(constant, proto, name)
    if constant.dtype is DType.STR:
        proto.string_data.extend(constant.data.reshape(-1).tolist())
    else:
        proto.raw_data = little_endian(constant).tobytes()


def describe_tensor(constant: Constant, proto: onnx.TensorProto, name: str) -> None:
    """Name, element type and shape of a constant, without its data."""
    if name:
        proto.name = name
    proto.data_type = CODES[constant.dtype]
    proto.dims.extend(constant.shape)


def little_endian(constant: Constant) -> npt.NDArray[Any]:
    """The data of a constant (not of strings) in the byte order of ONNX; no copy on most machines."""
    data: npt.NDArray[Any] = constant.data
    return data.astype(data.dtype.newbyteorder("<"), copy=False)
