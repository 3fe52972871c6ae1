"""IFMR's loss by sums between levels against the walk over all values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qir.ir.dtypes import DType
from qir.ir.types import QuantSpec
from qir.runtime.calibration import Ifmr
from qir.runtime.calibration.ifmr import ifmr_candidates, ifmr_exact
from qir.runtime.calibration.sorted_loss import pays, sorted_loss
from qir.runtime.kernels import ifmr_loss


@given(
    x=hnp.arrays(np.float32, st.integers(64, 500), elements=st.floats(-100, 100, width=16)),
    symmetric=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_losses_are_those_of_the_values(x: npt.NDArray[np.float32], symmetric: bool) -> None:
    x = np.sort(x)
    spec = QuantSpec(DType.I8, symmetric=symmetric)
    candidates = ifmr_candidates(Ifmr(), x[0], x[-1], spec)
    expected = ifmr_loss(x, *candidates.ranges)
    found = sorted_loss(x, *candidates.ranges)
    # float32 squares in the one, and in the other 1e-13 of all squares that count as nothing
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * float(np.square(x).sum()) + 1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
def test_large_data_take_the_same_candidate(symmetric: bool) -> None:
    values = np.random.default_rng(3).laplace(0.2, size=(1 << 20) + 77).astype(np.float32)
    spec = QuantSpec(DType.I8, symmetric=symmetric)
    assert pays(values.size, 256)
    assert not pays(values.size, 1 << 16)
    x = np.sort(values)
    method = Ifmr(max_percentile=1.0, min_percentile=1.0)
    candidates = ifmr_candidates(method, x[0], x[-1], spec)
    assert ifmr_exact(values, spec, method) == candidates.choose(ifmr_loss(x, *candidates.ranges))


def test_values_that_are_levels_have_no_error() -> None:
    x = np.repeat(np.arange(-100, 28, dtype=np.float32), 100)
    one = np.ones(1, np.float32)
    assert sorted_loss(x, one, -128 * one, 127 * one) == [0.0]
