"""Tensors of every element type, in every encoding that ONNX has, keep their bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import F32, I64, graph, info, model, node, tensor
from onnx_runs import constants_of, load, outputs, round_trip, same, through_text

from qir.frontends.onnx import read_model, to_model
from qir.frontends.onnx.types import CODES, dtype_of
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError

NAMES = {code for code in CODES.values() if code in onnx.TensorProto.DataType.values()}
TYPES = [dtype for dtype, code in CODES.items() if code in NAMES and dtype is not DType.STR]

ONNX_VERSION = tuple(int(part) for part in onnx.__version__.split(".")[:2])


def _raw(dtype: DType, count: int) -> bytes:
    """Bytes of `count` arbitrary elements, with zeros behind the last one."""
    size = (count * dtype.bits + 7) // 8
    data = np.random.default_rng(CODES[dtype]).integers(0, 2 if dtype is DType.BOOL else 256, size, np.uint8)
    if used := count * dtype.bits % 8:
        data[-1] &= (1 << used) - 1
    return data.tobytes()


def _holding(proto: onnx.TensorProto) -> onnx.ModelProto:
    result = helper.make_tensor_value_info("w", proto.data_type, list(proto.dims))
    return model(graph([], [], [result], [proto]), opset=23, ir=11)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: d.value)
def test_raw_data(dtype: DType) -> None:
    proto = onnx.TensorProto(name="w", data_type=CODES[dtype], dims=[3, 5], raw_data=_raw(dtype, 15))
    read = read_model(_holding(proto))
    held = read.value("w").constant
    assert held is not None
    assert (held.dtype, held.shape) == (dtype, (3, 5))
    written = to_model(through_text(read)).graph
    assert written.initializer[0] == proto
    assert written.output[0].type.tensor_type.elem_type == CODES[dtype]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: d.value)
def test_typed_fields(dtype: DType) -> None:
    """The fields other than raw_data say the same, as ONNX's own converter reads them."""
    proto = onnx.TensorProto(name="w", data_type=CODES[dtype], dims=[3, 5], raw_data=_raw(dtype, 15))
    typed = onnx.TensorProto(name="w", data_type=CODES[dtype], dims=[3, 5])
    raw = np.frombuffer(proto.raw_data, np.uint8)
    if dtype in (DType.F32, DType.C64):
        typed.float_data.extend(np.frombuffer(raw, np.float32))
    elif dtype in (DType.F64, DType.C128):
        typed.double_data.extend(np.frombuffer(raw, np.float64))
    elif dtype is DType.I64:
        typed.int64_data.extend(np.frombuffer(raw, np.int64))
    elif dtype in (DType.U32, DType.U64):
        typed.uint64_data.extend(np.frombuffer(raw, f"u{dtype.bits // 8}"))
    elif dtype.bits == 6:
        bits = np.unpackbits(raw, bitorder="little")[: 15 * 6].reshape(15, 6)
        typed.int32_data.extend(np.packbits(bits, axis=1, bitorder="little")[:, 0].tolist())
    else:
        kind = (
            "i" if dtype.is_integer and dtype.value[0] == "i" else "u"
        )  # signed entries are negative numbers
        typed.int32_data.extend(np.frombuffer(raw, f"{kind}{max(dtype.bits, 8) // 8}").tolist())
    if ONNX_VERSION >= (1, 20):  # the test itself is right; older converters fail on some types
        expected = onnx.numpy_helper.to_array(proto)
        assert onnx.numpy_helper.to_array(typed).tobytes() == expected.tobytes()
    assert read_model(_holding(typed)).value("w").constant == read_model(_holding(proto)).value("w").constant


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: d.value)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,)])
def test_scalars_and_empty_tensors(dtype: DType, shape: tuple[int, ...]) -> None:
    raw = _raw(dtype, int(np.prod(shape)))
    proto = onnx.TensorProto(name="w", data_type=CODES[dtype], dims=shape, raw_data=raw)
    written = to_model(through_text(read_model(_holding(proto))))
    assert written.graph.initializer[0] == proto


def test_strings() -> None:
    proto = onnx.TensorProto(name="w", data_type=8, dims=[2, 2])
    proto.string_data.extend([b"", "né\n".encode(), b"\xff\x00", b'"'])
    written = to_model(through_text(read_model(_holding(proto))))
    assert written.graph.initializer[0] == proto


def test_bits_of_unusual_floats() -> None:
    bits = np.array([0x80000000, 0x7FC00001, 0xFFC12345, 0x7F800000, 1, 0x7F800001], np.uint32)
    proto = tensor("w", bits.view(np.float32))
    assert to_model(through_text(read_model(_holding(proto)))).graph.initializer[0].raw_data == bits.tobytes()


def test_small_types_run() -> None:
    """int4, uint4, bfloat16 and 8-bit floats as ONNX Runtime reads them."""
    nodes, results, constants = [], [], []
    for name in ("INT4", "UINT4", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E5M2"):
        code = onnx.TensorProto.DataType.Value(name)
        constants.append(
            onnx.TensorProto(name=name, data_type=code, dims=[5], raw_data=_raw(dtype_of(code, ""), 5))
        )
        nodes.append(node("Cast", [name], [f"{name}_y"], to=F32))
        results.append(info(f"{name}_y", F32, [5]))
    original = model(graph(nodes, [], results, constants), opset=21, ir=10)
    try:
        load(original)
    except Exception as error:
        pytest.skip(f"this ONNX Runtime lacks a kernel: {error}")
    assert same(outputs(original), outputs(round_trip(original)))


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (
            onnx.TensorProto(name="w", data_type=1, dims=[3], raw_data=b"\0" * 8),
            r"'w' holds 8 bytes, but f32\[3\] takes 12",
        ),
        (onnx.TensorProto(name="w", data_type=1, dims=[3]), "holds 0 bytes"),
        (onnx.TensorProto(name="w", data_type=8, dims=[3], string_data=[b"a"]), "holds 1 strings"),
        (onnx.TensorProto(name="w", data_type=99, dims=[]), "element type number 99"),
        (onnx.TensorProto(name="w", data_type=0, dims=[]), "element type number 0"),
        (onnx.TensorProto(name="w", data_type=1, dims=[-1]), "negative dimension"),
        (onnx.TensorProto(name="", data_type=1, dims=[0]), "has no name"),
    ],
)
def test_damaged_tensors(proto: onnx.TensorProto, message: str) -> None:
    broken = model(graph([], [], [], [proto]))
    with pytest.raises(ModelError, match=message):
        read_model(broken)


def test_sparse_index_outside() -> None:
    values = helper.make_tensor("s", F32, [1], [3.0])
    sparse = onnx.SparseTensorProto(values=values, indices=helper.make_tensor("i", I64, [1], [4]), dims=[4])
    body = graph([], [], [])
    body.sparse_initializer.append(sparse)
    with pytest.raises(ModelError, match="sparse indices outside its shape"):
        read_model(model(body))


def test_constants_are_shared_by_clones() -> None:
    read = read_model(_holding(tensor("w", np.zeros(1000, np.float32))))
    assert read.clone().value("w").constant is read.value("w").constant
    assert len(constants_of(read)) == 1
