"""Spreads of channels: quartiles within a bin of the exact ones, however the values are split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qir.ir.errors import CalibrationError, ConfigError
from qir.runtime.channel_spread import (
    BINS,
    QUARTILES,
    channel_counts,
    channel_ranges,
    checked_axis,
    exact_spread,
    spread_of,
)

VALUES = st.floats(-1000, 1000, width=32)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40))


@given(arrays(np.float32, SHAPES, elements=VALUES), st.integers(0, 2))
def test_quartiles_are_right_to_a_bin(array: npt.NDArray[np.float32], axis: int) -> None:
    least, greatest = channel_ranges(array, axis, "t")
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    assert least.tolist() == rows.min(axis=1).tolist()
    assert greatest.tolist() == rows.max(axis=1).tolist()
    counts = channel_counts(array, axis, least, greatest)
    assert counts.sum(axis=1).tolist() == [rows.shape[1]] * len(rows)
    found = spread_of(least, greatest, counts)
    wanted = np.quantile(rows.astype(np.float64), QUARTILES, axis=1, method="inverted_cdf")
    tolerance = (greatest - least) / BINS * (1 + 1e-6) + 1e-9
    assert np.all(np.abs(found.quartiles - wanted) <= tolerance)


@given(arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 4)), elements=VALUES), st.data())
def test_counts_of_parts_add_up(array: npt.NDArray[np.float32], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(array) - 1))
    least, greatest = channel_ranges(array, 1, "t")
    whole = channel_counts(array, 1, least, greatest)
    parts = [channel_counts(part, 1, least, greatest) for part in (array[:cut], array[cut:])]
    assert np.array_equal(parts[0] + parts[1], whole)


def test_a_single_array_needs_no_bins() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    spread = exact_spread(array, 0, "t")
    assert spread.quartiles.tolist() == np.quantile(array, QUARTILES, axis=1).tolist()


def test_what_has_no_channels() -> None:
    assert checked_axis((2, 3, 4), -1, "t") == 2
    with pytest.raises(ConfigError, match=r"axis: tensor 't' of shape \[2, 3\] has no axis 2"):
        checked_axis((2, 3), 2, "t")
    with pytest.raises(CalibrationError, match="'t' has values that are NaN or infinite"):
        channel_ranges(np.array([[1.0, np.inf]], np.float32), 0, "t")
    with pytest.raises(CalibrationError, match="'t' is empty"):
        channel_ranges(np.empty((2, 0), np.float32), 0, "t")
