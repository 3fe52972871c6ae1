"""Statistics depend on the multiset of values alone: not on splits, order, merges or storage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.types import QuantSpec
from qir.runtime import histogram as histogram_module
from qir.runtime import statistics as statistics_module
from qir.runtime.calibration import Hfmg, Ifmr, Kl, MinMax, Mse, Percentile
from qir.runtime.histogram import Histogram, exponent_for
from qir.runtime.kernels.binning import BINS
from qir.runtime.statistics import TensorStatistics

Vector = npt.NDArray[np.float32]

FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-10, 10, width=32),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3.4028234663852886e38, 1.0]),
)
DATA = st.one_of(
    st.lists(FLOATS, min_size=1, max_size=60),
    st.lists(st.floats(-(2.0**100), -(2.0**-100), width=32), min_size=1, max_size=60),
    st.lists(st.floats(-(2.0**-126), 2.0**-126, width=32), min_size=1, max_size=60),
)


def taken(*parts: npt.ArrayLike) -> TensorStatistics:
    statistics = TensorStatistics()
    for part in parts:
        statistics.update(np.asarray(part, np.float32))
    return statistics


@pytest.fixture(params=[1, 20, 1000])
def limit(request: pytest.FixtureRequest) -> Iterator[int]:
    with mock.patch.object(statistics_module, "EXACT_LIMIT", request.param):
        yield request.param


@pytest.mark.parametrize("limit", [0, 20, 1000])
@given(data=DATA, draw=st.data())
@settings(max_examples=40, deadline=None)
def test_split_order_and_merge_change_nothing(limit: int, data: list[float], draw: st.DataObject) -> None:
    values = np.asarray(data, np.float32)
    order = draw.draw(st.permutations(range(len(data))))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    parts = np.split(values[order], cuts)
    # Consecutive parts go to one of three workers each, whose results merge in any order.
    owners = draw.draw(st.lists(st.integers(0, 2), min_size=len(parts), max_size=len(parts)))
    with mock.patch.object(statistics_module, "EXACT_LIMIT", limit):
        whole = taken(values)
        workers = [taken(*(p for p, o in zip(parts, owners, strict=True) if o == w)) for w in range(3)]
        a, b, c = draw.draw(st.permutations(workers))
        left = TensorStatistics.merge(TensorStatistics.merge(a, b), c)
        right = TensorStatistics.merge(a, TensorStatistics.merge(c, b))
        for other in (taken(*parts), left, right, TensorStatistics.from_arrays(left.to_arrays())):
            assert other == whole
            assert other.to_arrays().keys() == whole.to_arrays().keys()
            assert (other.minimum, other.maximum, other.count) == (values.min(), values.max(), values.size)
            assert _closed(other) == _closed(whole)


def _closed(statistics: TensorStatistics) -> list[object]:
    """What every method makes of the statistics; an error counts as a result."""
    results: list[object] = []
    for method in (MinMax(), Percentile(0.9), Ifmr(), Mse(20), Kl(), Hfmg(1024)):
        for spec in (QuantSpec(DType.I8), QuantSpec(DType.U8, False), QuantSpec(DType.I16, False)):
            try:
                results.append(method.close(statistics, spec))
            except CalibrationError as error:
                results.append(str(error))
    return results


@given(data=DATA)
@settings(max_examples=80, deadline=None)
def test_a_histogram_counts_every_value_in_its_bin(data: list[float]) -> None:
    values = np.asarray(data, np.float32)
    histogram = taken(values).histogram
    assert histogram.count == values.size
    assert histogram.zeros == np.count_nonzero(values == 0)
    exact = [math.trunc(float(v) / histogram.width) for v in values[values != 0]]
    expected = np.bincount(np.asarray(exact, int) - histogram.first, minlength=histogram.counts.size)
    np.testing.assert_array_equal(histogram.counts, expected)


@given(data=DATA)
@settings(max_examples=80, deadline=None)
def test_bins_are_as_fine_as_the_range_allows(data: list[float]) -> None:
    histogram = taken(data).histogram
    assert histogram.last - histogram.first < BINS
    if histogram.exponent > histogram_module.MIN_EXPONENT:
        width = histogram.width / 2
        assert int(max(*data, 0.0) / width) - int(min(*data, 0.0) / width) >= BINS


def test_one_sided_data_use_all_bins_for_their_side() -> None:
    assert exponent_for(0.0, 1.99) == -14
    assert exponent_for(-1.99, 0.0) == -14
    assert exponent_for(-1.99, 1.99) == -13
    assert exponent_for(-0.001, 1.99) == -14


def test_zeros_leave_the_width_open() -> None:
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        small = taken([0.0, -0.0], [1e-6, 2e-6], [0.0])
        assert small == taken([0.0, 2e-6, 0.0, 1e-6, 0.0])
        assert small.histogram.exponent == exponent_for(0.0, 2e-6) == -33
        np.testing.assert_array_equal(np.flatnonzero(small.histogram.counts), [8589, 17179])


def test_growth_from_the_smallest_to_the_largest_float() -> None:
    """Each value arrives alone, every one beyond what the bins cover; nothing is lost."""
    values = [s * 2.0**e for e in range(-149, 128, 3) for s in (1, -1)]
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        grown, whole = taken(*([v] for v in values)), taken(values)
    assert grown == whole
    assert grown.histogram.counts.sum() == len(values)
    assert grown.histogram.exponent == exponent_for(-(2.0**127), 2.0**127)


def test_values_turn_into_a_histogram_beyond_the_limit(limit: int) -> None:
    values = np.linspace(-1, 1, limit, dtype=np.float32)
    statistics = taken(values)
    assert statistics.values is not None
    np.testing.assert_array_equal(statistics.values, np.sort(values))
    statistics.update(np.float32([0.5]))
    assert statistics.values is None
    assert statistics.count == limit + 1
    assert statistics == taken([0.5], values)


def test_kept_values_are_copies() -> None:
    batch = np.ones(4, np.float32)
    statistics = taken(batch)
    batch[:] = 7
    assert statistics == taken([1, 1, 1, 1])


def test_minus_zero_is_zero() -> None:
    for a in (taken([-0.0, 1]), taken([-0.0], [1])):
        assert a == taken([0.0, 1])
        assert not np.signbit(a.minimum)
        assert a.values is not None
        assert not np.signbit(a.values).any()
    assert not np.signbit(taken([-0.0, -1]).maximum)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_batch_that_is_not_finite_leaves_the_statistics_as_they_were(limit: int, bad: float) -> None:
    statistics, same = taken(np.arange(30)), taken(np.arange(30))
    with pytest.raises(CalibrationError, match="2 of 3 values are NaN or infinite"):
        statistics.update(np.float32([bad, 99, bad]))
    assert statistics == same
    with pytest.raises(CalibrationError, match="1 of 1"):
        statistics.update(np.float64([1e300]))


def test_other_types_shapes_and_empty_arrays() -> None:
    statistics = TensorStatistics()
    statistics.update(np.float16([[1, 2], [3, 4]]))
    statistics.update(np.zeros((0, 3), np.float32))
    statistics.update(np.int32([5]))
    assert statistics == taken([5, 4, 3, 2, 1])


def test_without_data_there_is_nothing_to_say() -> None:
    statistics = TensorStatistics.merge(TensorStatistics(), TensorStatistics())
    assert statistics.count == 0
    assert statistics == TensorStatistics.from_arrays(statistics.to_arrays())
    for ask in (lambda: statistics.minimum, lambda: statistics.maximum, lambda: statistics.histogram):
        with pytest.raises(CalibrationError, match="no calibration data"):
            ask()
    with pytest.raises(CalibrationError, match="no calibration data"):
        MinMax().close(statistics, QuantSpec(DType.I8))


def test_equality_sees_values_counts_and_zeros() -> None:
    assert taken([1, 2]) != taken([1, 2, 2])
    assert taken([1, 2]) != taken([1, 3])
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        assert taken([0, 1, 0]) != taken([0, 1, 1e-9])
        assert taken([1, 0.5]) != taken([1, 0.6])
    assert taken([1]) != "statistics"


def test_counts_beyond_32_bits_are_carried() -> None:
    values = np.asarray([0, 1, 1, 2, -3], np.float32)
    expected = Histogram(-8, 8)
    for _ in range(7):
        expected.add(values)
    expected.add(np.float32([8]))
    with mock.patch.object(histogram_module, "_COUNTER_LIMIT", 11):
        small, half = Histogram(-3, 2), Histogram(-3, 2)
        for _ in range(4):
            small.add(values)
        for _ in range(3):
            half.add(values)
        small.add_histogram(half)
        small.cover(-8, 8)
        small.add(np.float32([8]))
        np.testing.assert_array_equal(small.counts, expected.counts)
        assert (small.zeros, small.count) == (7, 36)


def test_counters_do_not_overflow() -> None:
    most = 2**32 - 3
    full = Histogram(0, 1)
    full = Histogram.of_counts(0, 1, np.where(np.arange(full.last + 1) == full.last, most, 0), 0)
    full.add(np.float32([1] * 5))
    assert (full.counts[-1], full.count) == (most + 5, most + 5)
    assert full.take(np.float32([1] * 5)) == (1, 1)
    assert (full.counts[-1], full.count) == (most + 10, most + 10)


@given(
    ranges=st.lists(st.tuples(st.integers(0, 9), st.lists(FLOATS, min_size=1, max_size=4)), max_size=12),
    draw=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_ranges_of_samples_depend_on_no_order(
    ranges: list[tuple[int, list[float]]], draw: st.DataObject
) -> None:
    parts = [TensorStatistics(), TensorStatistics()]
    for index, data in draw.draw(st.permutations(ranges)):
        parts[draw.draw(st.integers(0, 1))].update(np.float32(data), sample=index)
    merged = TensorStatistics.merge(*parts)
    merged = TensorStatistics.from_arrays(merged.to_arrays())
    found = {i: (low, high) for i, low, high in zip(*(a.tolist() for a in merged.sample_ranges), strict=True)}
    expected: dict[int, list[float]] = {}
    for index, data in ranges:
        expected.setdefault(index, []).extend(np.float32(data).tolist())
    assert list(found) == sorted(expected)
    assert found == {i: (min(data), max(data)) for i, data in expected.items()}
    assert [a.dtype.name for a in merged.sample_ranges] == ["int64", "float32", "float32"]


def test_memory_is_bounded_whatever_the_number_of_updates() -> None:
    statistics, rng = TensorStatistics(), np.random.default_rng(0)
    for _ in range(50):
        statistics.update(rng.normal(size=(10, 700)))
        kept = [statistics._buffer]
        if statistics._histogram is not None:
            kept.append(statistics._histogram._counters)
        assert sum(a.nbytes for a in kept) <= 4 * (BINS + 16)
    assert statistics.values is None


@given(data=DATA, rank=st.integers(-3, 70))
@settings(max_examples=80, deadline=None)
def test_ranks_are_exact_on_values_and_within_a_bin_on_a_histogram(data: list[float], rank: int) -> None:
    values = np.sort(np.asarray(data, np.float32))
    expected = float(values[min(max(rank, 1), values.size) - 1])
    assert taken(data).nth_smallest(rank) == expected
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        binned = taken(data)
    assert abs(binned.nth_smallest(rank) - expected) <= binned.histogram.width
    from_above = float(values[-min(max(rank, 1), values.size)])
    assert abs(binned.nth_largest(rank) - from_above) <= binned.histogram.width


def test_ranks_within_a_bin_are_spread_over_it_and_zero_is_zero() -> None:
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        even = taken((np.arange(1 << 16) + 0.5) / (1 << 20), [1.0])
        sparse = taken([0.0] * 10, [-2.0, 3.0])
    width = even.histogram.width
    for rank in (100, 2000, 65000):
        assert even.nth_smallest(rank) == pytest.approx((rank - 0.5) / (1 << 20), abs=width / 50)
    assert [sparse.nth_smallest(rank) for rank in (1, 2, 11, 12)] == [-2, 0, 0, 3]


@given(data=DATA)
@settings(max_examples=80, deadline=None)
def test_a_density_holds_every_value_but_zeros_within_the_range(data: list[float]) -> None:
    values = np.asarray(data, np.float32)
    statistics = TensorStatistics()
    statistics.update(values, sample=3)
    density = statistics.density
    total = float(np.sum(density.density * np.diff(density.edges)) + np.sum(density.weights))
    assert total == pytest.approx(np.count_nonzero(values))
    assert density.edges[0] >= values.min()
    assert density.edges[-1] <= values.max()
    assert (np.diff(density.edges) >= 0).all()
    assert (density.density >= 0).all()
