"""Weights and biases: ARQ against AMCT's golden vectors, the layouts of channels, integers and errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qir.ir.dtypes import DType
from qir.ir.errors import ModelError, PassError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.channels import channels_back, channels_first
from qir.runtime.weights import Arq, fake_quantize, quantize

GOLDEN = Path(__file__).parents[1] / "data" / "amct"
VECTORS = np.load(GOLDEN / "vectors.npz")
CASES = [c for c in json.loads((GOLDEN / "vectors.json").read_text()) if c["algo"] == "arq"]


@pytest.mark.parametrize("case", CASES)
def test_arq_equals_amct(case: dict[str, object]) -> None:
    """Includes a channel that is all zero: scale 1."""
    per_channel, number = bool(case["channel_wise"]), int(str(case["bits"]))
    spec = QuantSpec({4: DType.I4, 8: DType.I8}[number], axis=0 if per_channel else None)
    key = f"cw{int(per_channel)}_b{number}"
    params = Arq().close(VECTORS["arq_w"], spec)
    np.testing.assert_array_equal(params.scale_array(), VECTORS[f"arq_scale_{key}"])
    assert set(params.zero_point) == {0}
    stored = quantize(VECTORS["arq_w"], params)
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(stored, VECTORS[f"arq_int_{key}"])


def test_golden_cases_are_there() -> None:
    assert len(CASES) == 4
    assert (VECTORS["arq_scale_cw1_b8"] == 1).any()


def test_quantizing_fake_quantized_weights_again_gives_the_same_integers() -> None:
    weights = np.random.default_rng(0).normal(size=(64, 300)).astype(np.float32)
    for spec in (QuantSpec(DType.I8, axis=0), QuantSpec(DType.I8, axis=1), QuantSpec(DType.I4)):
        params = Arq().close(weights, spec)
        stored = quantize(weights, params)
        np.testing.assert_array_equal(quantize(fake_quantize(weights, params), params), stored)


def test_a_negative_extreme_gets_128_steps() -> None:
    params = Arq().close(np.float32([[-1, 0.5], [1, -0.5], [0, 0]]), QuantSpec(DType.I8, axis=0))
    np.testing.assert_array_equal(params.scale_array(), np.float32([1 / 128, np.float32(1) / 127, 1]))


def test_grouped_transposed_convolution_has_one_scale_per_output_channel() -> None:
    """Weights [Cin=6, Cout/groups=2, 3] in 3 groups: output channel 2g+j is index j of rows 2g and 2g+1."""
    weights = np.zeros((6, 2, 3), np.float32)
    for group in range(3):
        for j in range(2):
            weights[2 * group : 2 * group + 2, j] = 10 * group + j + 1
    spec = QuantSpec(DType.I8, axis=1, groups=3)
    rows = channels_first(weights, spec)
    assert rows.shape == (6, 6)
    np.testing.assert_array_equal(rows[:, 0], [1, 2, 11, 12, 21, 22])
    assert (rows == rows[:, :1]).all()
    params = Arq().close(weights, spec)
    np.testing.assert_array_equal(params.scale_array(), rows[:, 0] / np.float32(127))
    assert (quantize(weights, params) == 127).all()


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    groups=st.integers(1, 3),
    place=st.integers(0, 7),
)
@settings(max_examples=80, deadline=None)
def test_channels_come_back_where_they_were(shape: list[int], groups: int, place: int) -> None:
    axis = place % (len(shape) + 1) - 1
    spec = QuantSpec(DType.I8, axis=None if axis < 0 else axis, groups=groups if axis > 0 else 1)
    full = (shape[0] * spec.groups, *shape[1:])
    array = np.arange(np.prod(full), dtype=np.float32).reshape(full)
    rows = channels_first(array, spec)
    assert rows.shape[0] == spec.channels(full)
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(channels_back(rows, full, spec), array)
    if spec.groups == 1 and spec.axis is not None:
        np.testing.assert_array_equal(rows[0], np.take(array, 0, axis).ravel())


def test_axis_from_the_end() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(channels_first(array, QuantSpec(DType.I8, axis=-1)), array.T)


def test_bias_is_rounded_in_double_precision_and_clipped_to_int32() -> None:
    spec = QuantSpec(DType.I32, axis=0)
    bias = np.float32([1, -1, 2.5, 3e9, -3e9, 16777217 * 2])
    params = QuantParams.of(spec, np.ones(6))
    expected = [1, -1, 2, 2**31 - 1, -(2**31), 33554432]
    assert quantize(bias, params).dtype == np.int32
    np.testing.assert_array_equal(quantize(bias, params), expected)
    np.testing.assert_array_equal(fake_quantize(bias, params), np.float32(expected))


def test_float16_weights_are_computed_in_float32() -> None:
    half = np.float16([[0.1, -0.7], [0.3, 0.2]])
    spec = QuantSpec(DType.I8, axis=0)
    assert Arq().close(half, spec) == Arq().close(half.astype(np.float32), spec)
    cast = QuantParams(QuantSpec(DType.F16))
    single = np.float32([0.1, 1e-9])
    np.testing.assert_array_equal(fake_quantize(single, cast), single.astype(np.float16).astype(np.float32))
    assert quantize(single, cast).dtype == np.float16


def test_errors_name_the_tensor() -> None:
    spec = QuantSpec(DType.I8, axis=0)
    bad = np.float32([[1, np.nan, np.inf]])
    with pytest.raises(ModelError, match=r"^2 of 3 weights are NaN or infinite; repair"):
        Arq().close(bad, spec)
    with pytest.raises(ModelError, match="floating point, not int8"):
        Arq().close(np.int8([1]), spec)
    with pytest.raises(ModelError, match="empty"):
        Arq().close(np.zeros((0, 3), np.float32), spec)
    with pytest.raises(PassError, match=r"shape \[2, 3\] has no channel axis 2"):
        Arq().close(np.ones((2, 3), np.float32), QuantSpec(DType.I8, axis=2))
    with pytest.raises(PassError, match="cannot be split into 2 groups"):
        Arq().close(np.ones((3, 3), np.float32), QuantSpec(DType.I8, axis=1, groups=2))
    with pytest.raises(PassError, match=r"2 scales for a tensor of shape .* 3 channels"):
        quantize(np.ones((3, 2), np.float32), QuantParams.of(spec, [1, 1]))
