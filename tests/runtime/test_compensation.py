"""Error compensation: how near two int8 tensors come to the numbers that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qir.ir.dtypes import DType
from qir.ir.quants import OperandPrecision
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration import method_named
from qir.runtime.compensation import (
    fine_spec,
    left_over,
    params_of_range_of,
    rest_of_weights,
    rest_params,
    rounded_array,
)
from qir.runtime.scales import params_of_range
from qir.runtime.statistics import TensorStatistics
from qir.runtime.weights import Arq, fake_quantize

I8 = QuantSpec(DType.I8)
NUMBERS = st.floats(-1e4, 1e4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)


def activation(x: np.ndarray, symmetric: bool, method: str = "min-max") -> tuple[QuantParams, QuantParams]:
    spec = QuantSpec(DType.I8, symmetric=symmetric)
    statistics = TensorStatistics()
    statistics.update(x)
    fine = method_named(method).close(statistics, fine_spec(spec))
    coarse = params_of_range_of(fine, spec)
    return coarse, rest_params(coarse, I8)


def compensated(x: np.ndarray, coarse: QuantParams, rest: QuantParams) -> np.ndarray:
    return fake_quantize(x, coarse) + fake_quantize(left_over(x, coarse), rest)


@settings(deadline=None)
@given(arrays(np.float32, st.integers(2, 50), elements=NUMBERS), st.booleans())
def test_half_a_step_of_the_second_tensor_is_the_largest_error(x: np.ndarray, symmetric: bool) -> None:
    """A 254th of a step of the first, on the whole range; 127 steps on either side of 0, or 255 in all."""
    largest = float(np.abs(x).max())
    if np.ptp(np.append(x, 0)) < 0.02:  # the least scale of INT16 activations
        return
    coarse, rest = activation(x, symmetric)
    assert rest.scale[0] == pytest.approx(coarse.scale[0] / 254, rel=2e-2)
    bound = rest.scale[0] / 2 + 4e-7 * largest  # the sums are float32
    assert np.abs(compensated(x, coarse, rest) - x).max() <= bound * (1 + 1e-3)
    width = 2 * largest if symmetric else np.ptp(np.append(x, 0))
    assert coarse.scale[0] == pytest.approx(width / (254 if symmetric else 255), rel=2e-4)


@settings(deadline=None)
@given(arrays(np.float32, (3, 4), elements=NUMBERS), st.sampled_from([None, 0, 1]))
def test_weights_keep_fifteen_bits_in_every_channel(weights: np.ndarray, axis: int | None) -> None:
    spec = QuantSpec(DType.I8, axis=axis)
    coarse = Arq().close(weights, spec)
    rest = rest_of_weights(weights, coarse, spec)
    found = compensated(weights, coarse, rest)
    rows = (a.reshape(1, -1) if axis is None else np.moveaxis(a, axis, 0) for a in (weights, found))
    for exact, rounded in zip(*rows, strict=True):
        largest = np.abs(exact).max()
        tiny = 127 * np.finfo(np.float32).eps  # below, the first tensor is all zero: 8 bits are left
        least = 2**-15 if largest > tiny else 2**-8
        assert np.abs(exact - rounded).max() <= largest * least * 1.01


def test_int16_is_half_a_bit_better_and_int8_far_behind() -> None:
    x = np.random.default_rng(0).uniform(-3, 5, 100_000).astype(np.float32)
    spec = QuantSpec(DType.I8, symmetric=False)
    short = params_of_range(x.min(), x.max(), fine_spec(spec))
    single = params_of_range(x.min(), x.max(), spec)
    errors = [
        float(np.sqrt(np.mean((found - x) ** 2, dtype=np.float64)))
        for found in (
            fake_quantize(x, short),
            compensated(x, *activation(x, False)),
            fake_quantize(x, single),
        )
    ]
    assert 1 < errors[1] / errors[0] < 1.03
    assert errors[2] / errors[1] == pytest.approx(254, rel=0.02)


def test_the_method_chooses_the_range_as_for_int16() -> None:
    """ifmr clips a few outliers for INT8 and not for INT16; one tensor alone would have lost them."""
    random = np.random.default_rng(1)
    x = np.append(random.standard_normal(100_000), [30.0, -30.0]).astype(np.float32)
    statistics = TensorStatistics()
    statistics.update(x)
    alone = method_named("ifmr").close(statistics, QuantSpec(DType.I8))
    coarse, rest = activation(x, True, "ifmr")
    assert alone.scale[0] < 0.9 * coarse.scale[0]
    assert np.abs(compensated(x, coarse, rest) - x).max() < 1e-3


def test_arrays_in_a_precision() -> None:
    weights = np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)
    coarse = Arq().close(weights, I8)
    rest = rest_of_weights(weights, coarse, I8)
    assert np.array_equal(rounded_array(weights, OperandPrecision(coarse)), fake_quantize(weights, coarse))
    found = rounded_array(weights, OperandPrecision(coarse, rest))
    assert np.array_equal(found, compensated(weights, coarse, rest))
