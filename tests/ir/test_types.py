"""Element types, constants, quantization types, names."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.types import QuantParams, QuantSpec, TensorType, spec_of, tensor


def test_element_types() -> None:
    for dtype in DType:
        if dtype.numpy is not None:
            assert DType.of(dtype.numpy) is dtype
            assert dtype is DType.STR or dtype.bits == dtype.numpy.itemsize * 8
    assert DType.of(np.dtype("<U3")) is DType.STR
    assert DType.I8.integer_range == (-128, 127)
    assert DType.U4.integer_range == (0, 15)
    assert DType.I32.integer_range == (-(2**31), 2**31 - 1)
    assert [d for d in DType if d.is_float and d.is_integer] == []
    assert DType.BF16.is_float
    assert not DType.BOOL.is_float
    with pytest.raises(ValueError, match="f32 is not an integer type"):
        _ = DType.F32.integer_range
    with pytest.raises(TypeError, match="datetime64"):
        DType.of(np.dtype("M8"))


def test_digests_cover_type_shape_and_bytes_and_not_the_layout() -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert Constant.of(data).digest == Constant.of(np.asfortranarray(data)).digest == "f9981b3b1d15d6e4"
    different = [data, data.reshape(4, 3), data.view(np.int32), data + 1, data.astype(np.float64)]
    assert len({Constant.of(d).digest for d in different}) == len(different)
    words = [np.array(["ab", "c"]), np.array(["a", "bc"])]
    assert len({Constant.of(w).digest for w in words}) == 2


def test_constants_compare_by_content_and_cannot_be_written() -> None:
    data = np.arange(3)
    constant = Constant.of(data)
    assert constant == Constant.of(data.copy())
    assert hash(constant) == hash(Constant.of(data.copy()))
    assert constant != Constant.of(data + 1)
    assert constant != 3
    with pytest.raises(ValueError, match="read-only"):
        constant.array[0] = 1
    assert Constant(DType.I64, [np.int64(3)], data).shape == (3,)


def test_constants_refuse_data_of_another_type() -> None:
    with pytest.raises(ValueError, match=r"f32\[2\] data cannot be float32\[3\]"):
        Constant(DType.F32, (2,), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"i4 data must be 2 uint8"):
        Constant(DType.I4, (3,), np.zeros(3, np.uint8))
    with pytest.raises(TypeError, match="a i4 constant has no numpy array"):
        _ = Constant(DType.I4, (3,), np.zeros(2, np.uint8)).array


def test_strings_become_bytes() -> None:
    constant = Constant.of(np.array([["é", "b"]]))
    assert constant.array.tolist() == [["é".encode(), b"b"]]
    assert Constant.of(np.array("a")).shape == ()


def test_quant_params() -> None:
    spec = QuantSpec(DType.I8, axis=0)
    params = QuantParams.of(spec, [0.1, 0.2])
    assert params.scale == (float(np.float32(0.1)), float(np.float32(0.2)))
    assert params.zero_point == (0, 0)
    assert params.scale_array().dtype == np.float32
    assert params == QuantParams.of(spec, np.array([0.1, 0.2], np.float32), [0, 0])
    assert spec_of(params) is spec_of(spec) is spec
    assert QuantSpec(DType.I8, axis=1, groups=2).channels((4, 3, 3)) == 6
    assert QuantSpec(DType.I8).channels((4, 3)) == 1
    with pytest.raises(ValueError, match="scales must be float32"):
        QuantParams(spec, (0.1,), (0,))
    with pytest.raises(ValueError, match="scales must be float32"):
        QuantParams(spec, (1e300,), (0,))
    with pytest.raises(ValueError, match="2 scales but 1 zero points"):
        QuantParams(spec, (0.5, 0.5), (0,))


def test_tensor_types() -> None:
    kind = tensor(DType.F32, ["N", 3])
    assert not kind.is_static
    assert kind.static_shape is None
    assert tensor(DType.F32, [2, 3]).static_shape == (2, 3)
    assert not TensorType(DType.F32).is_static
    assert kind.with_quant(QuantSpec(DType.I8)).with_quant(None) == kind
