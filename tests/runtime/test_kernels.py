"""Compiled kernels against their numpy twins, to the bit; and anchors that both could get wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.runtime.kernels import (
    binning,
    fake_quantize,
    finite_range,
    flat_floats,
    jit,
    quantize,
    reference,
    rounding,
)
from qir.runtime.kernels.ranges import ALL_FINITE, NOTHING, Covered, finite_range_counted

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
ANY = st.floats(width=32)
SCALES = st.floats(2.0**-20, 2.0**10, width=32)


def vectors(elements: st.SearchStrategy[float], largest: int = 700) -> st.SearchStrategy[npt.NDArray[Any]]:
    return hnp.arrays(np.float32, st.integers(1, largest), elements=elements)


def bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """float32 bit patterns, all NaN alike."""
    return np.where(np.isnan(array), np.float32(np.nan), array).view(np.uint32)


@given(
    x=hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 40)), elements=ANY),
    scale=st.lists(SCALES, min_size=4, max_size=4),
    zero=st.lists(st.integers(-128, 127), min_size=4, max_size=4),
    reciprocal=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_quantize_and_fake_quantize_equal_their_twins(
    x: npt.NDArray[Any], scale: list[float], zero: list[int], reciprocal: bool
) -> None:
    rows = x.shape[0]
    x.flags.writeable = False
    steps, zeros = np.asarray(scale[:rows], np.float32), np.asarray(zero[:rows], np.float32)
    for kernel, twin in (
        (rounding.fake_quantize_rows, reference.fake_quantize_rows),
        (rounding.quantize_rows, reference.quantize_rows),
    ):
        got, expected = np.empty_like(x), np.empty_like(x)
        kernel(x, steps, zeros, -128, 127, reciprocal, got)
        twin(x, steps, zeros, -128, 127, reciprocal, expected)
        np.testing.assert_array_equal(bits(got), bits(expected))


@given(x=vectors(FINITE), scale=SCALES)
@settings(max_examples=100, deadline=None)
def test_loss_of_values_equals_its_twin(x: npt.NDArray[Any], scale: float) -> None:
    scales = np.float32(scale) * np.asarray([0.5, 1, 3], np.float32)
    low, high = scales * np.float32(-100), scales * np.float32(127)
    got, expected = np.empty(3), np.empty(3)
    rounding.ifmr_loss_values(x, scales, low, high, got)
    reference.ifmr_loss_values(x, scales, low, high, expected)
    np.testing.assert_array_equal(got, expected)


@given(
    density=hnp.arrays(np.float64, st.integers(1, 700), elements=st.floats(0, 1e6)),
    width=SCALES,
    scale=SCALES,
)
@settings(max_examples=100, deadline=None)
def test_loss_of_a_density_equals_its_twin(density: npt.NDArray[Any], width: float, scale: float) -> None:
    edges = (np.arange(density.size + 1) - density.size // 2) * width
    scales = np.float32(scale) * np.asarray([0.5, 1, 3], np.float32)
    low, high = scales * np.float32(-100), scales * np.float32(127)
    got, expected = np.empty(3), np.empty(3)
    rounding.ifmr_loss_density(edges, density, scales, low, high, got)
    reference.ifmr_loss_density(edges, density, scales, low, high, expected)
    np.testing.assert_array_equal(got, expected)


@given(x=vectors(st.floats(-1e6, 1e6, width=32)), scale=SCALES)
@settings(max_examples=60, deadline=None)
def test_loss_of_points_equals_its_twin_and_that_of_values(x: npt.NDArray[Any], scale: float) -> None:
    scales = np.float32(scale) * np.asarray([0.5, 1, 3], np.float32)
    low, high = scales * np.float32(-100), scales * np.float32(127)
    weight = np.arange(x.size) % 3.0
    got, expected, plain = np.empty(3), np.empty(3), np.empty(3)
    rounding.ifmr_loss_points(x, weight, scales, low, high, got)
    reference.ifmr_loss_points(x, weight, scales, low, high, expected)
    np.testing.assert_array_equal(got, expected)
    rounding.ifmr_loss_values(x.repeat(weight.astype(int)), scales, low, high, plain)
    np.testing.assert_allclose(got, plain, rtol=1e-9, atol=1e-30)


@pytest.mark.parametrize("scale", [0.05, 0.01, 0.003])
def test_loss_of_a_density_is_that_of_the_values_it_stands_for(scale: float) -> None:
    """Values 256 times as dense as the bins, spread evenly over them, below and beyond the clipping range."""
    edges = np.linspace(-2.0, 3.0, 301)
    weights = np.random.default_rng(1).integers(0, 9, 300)
    offsets = (np.arange(256) + 0.5) / 256
    values = (edges[:-1, None] + np.diff(edges)[:, None] * offsets).repeat(weights, axis=0).ravel()
    step = np.asarray([scale], np.float32)
    low, high = step * np.float32(-30), step * np.float32(60)
    spread, exact = np.empty(1), np.empty(1)
    rounding.ifmr_loss_density(edges, weights / np.diff(edges), step, low, high, spread)
    rounding.ifmr_loss_values(values.astype(np.float32), step, low, high, exact)
    assert spread[0] * 256 == pytest.approx(exact[0], rel=1e-4)


def count(kernel: Callable[..., None], x: npt.NDArray[Any], exponent: int, counts: npt.NDArray[Any]) -> None:
    """Count x, whatever its range, in bins of width 2^exponent."""
    kernel(x, x.view(np.uint32), 2.0**-exponent, *ALL_FINITE, np.zeros(4, np.int64), counts)


@given(x=vectors(ANY, 3000))
@settings(max_examples=100, deadline=None)
def test_extremes_equal_their_twin(x: npt.NDArray[Any]) -> None:
    got, expected = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for kernel, found in ((binning.count_covered, got), (reference.count_covered, expected)):
        kernel(x, x.view(np.uint32), 1.0, *NOTHING, found, np.empty(0, np.uint32))
    np.testing.assert_array_equal(got, expected)
    assert got[3] == 0


@given(x=vectors(FINITE), limits=st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32)))
@settings(max_examples=200, deadline=None)
def test_numbers_are_counted_when_all_are_covered(x: npt.NDArray[Any], limits: tuple[float, float]) -> None:
    low, high = sorted(limits)
    counts = np.zeros(binning.SLOTS, np.uint32)
    *_, counted = finite_range_counted(x, Covered.of(low, high), 2.0**12, counts)
    assert counted == bool((x >= min(low, 0)).all() and (x <= max(high, 0)).all())
    assert counts.sum() == (x.size if counted else 0)


@given(x=vectors(FINITE))
@settings(max_examples=100, deadline=None)
def test_finite_range_is_minimum_and_maximum(x: npt.NDArray[Any]) -> None:
    low, high = finite_range(x)
    assert (low, high) == (float(x.min()), float(x.max()))
    assert not np.signbit([v for v in (low, high) if v == 0]).any()


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 8, 4999])
def test_not_finite_values_are_counted(bad: float, place: int) -> None:
    x = np.linspace(-3, 3, 5000, dtype=np.float32)
    x[place] = bad
    with pytest.raises(CalibrationError, match=r"^1 of 5000 values are NaN or infinite"):
        finite_range(x)
    with pytest.raises(CalibrationError, match=r"^5000 of 5000"):
        finite_range(np.full(5000, bad, np.float32))


@given(x=vectors(st.floats(-1000, 1000, width=32), 3000), exponent=st.integers(-4, 8))
@settings(max_examples=100, deadline=None)
def test_counting_equals_its_twin(x: npt.NDArray[Any], exponent: int) -> None:
    got, expected = np.zeros(binning.SLOTS, np.uint32), np.zeros(binning.SLOTS, np.uint32)
    for part in (x, x[::2].copy(), x[:0]):
        count(binning.count_covered, part, exponent, got)
        count(reference.count_covered, part, exponent, expected)
    # The twin takes zero slots in turn over the whole array, the kernel over each block: the sum counts.
    np.testing.assert_array_equal(got[: binning.BINS], expected[: binning.BINS])
    assert got[binning.BINS :].sum() == expected[binning.BINS :].sum()


@given(x=vectors(FINITE), doublings=st.integers(0, 16))
@settings(max_examples=60, deadline=None)
def test_merging_bins_is_counting_in_wider_ones(x: npt.NDArray[Any], doublings: int) -> None:
    """bin(x, 2w) == bin(x, w) / 2, rounded toward zero, for every float32."""
    magnitude = float(np.abs(x).max())
    exponent = max(int(np.frexp(magnitude)[1]) - binning.BINS_LOG2 + 1, -100)
    first, last = int(x.min() / 2.0**exponent), int(x.max() / 2.0**exponent)
    fine, wide, total = (np.zeros(binning.SLOTS, np.uint32) for _ in range(3))
    count(binning.count_covered, x, exponent, fine)
    count(binning.count_covered, x, exponent + doublings, wide)
    for merge in (binning.merge_bins, reference.merge_bins):
        total = np.zeros(binning.SLOTS, np.int64)
        merge(fine.astype(np.int64), min(first, 0), max(last, 0), doublings, total)
        np.testing.assert_array_equal(total[: binning.BINS], wide[: binning.BINS])
        assert total[binning.BINS :].sum() == wide[binning.BINS :].sum()


def test_ties_round_to_even_and_the_zero_point_is_added_after_rounding() -> None:
    x = np.asarray([[0.5, 1.5, 2.5, -0.5, -1.5, 300, -300]], np.float32)
    one, zero = np.ones(1, np.float32), np.asarray([1])
    np.testing.assert_array_equal(quantize(x, one, zero, DType.I8), [[1, 3, 3, 1, -1, 127, -128]])
    np.testing.assert_array_equal(fake_quantize(x, one, zero, DType.I8), [[0, 2, 2, 0, -2, 126, -129]])


@pytest.mark.parametrize(
    ("qtype", "dtype"),
    [
        (DType.I4, np.int8),
        (DType.U4, np.uint8),
        (DType.I8, np.int8),
        (DType.U8, np.uint8),
        (DType.I16, np.int16),
        (DType.U16, np.uint16),
        (DType.I32, np.int32),
    ],
)
def test_integers_cover_their_type_and_no_more(qtype: DType, dtype: type) -> None:
    qmin, qmax = qtype.integer_range
    far = np.asarray([[-1e12, qmin, 0, qmax, 1e12]], np.float32)
    got = quantize(far, np.ones(1, np.float32), np.asarray([0]), qtype)
    assert got.dtype == dtype
    assert got[0, 0] == qmin
    assert got[0, -1] == qmax


def test_multiplying_by_the_reciprocal_differs_where_division_does() -> None:
    """Many quotients are ties in exact numbers, and rounding of the product puts them on either side."""
    x = np.arange(1, 20000, dtype=np.float32).reshape(1, -1) * np.float32(0.0137)
    step, zero = np.asarray([0.0274], np.float32), np.asarray([0])
    divided = quantize(x, step, zero, DType.I16)
    multiplied = quantize(x, step, zero, DType.I16, reciprocal=True)
    assert (divided != multiplied).any()
    np.testing.assert_array_equal(divided, np.rint(x / step))
    np.testing.assert_array_equal(multiplied, np.rint(x * (np.float32(1) / step[0])))
    for integers, reciprocal in ((divided, False), (multiplied, True)):
        fake = fake_quantize(x, step, zero, DType.I16, reciprocal=reciprocal)
        np.testing.assert_array_equal(fake, integers.astype(np.float32) * step)


def test_floats_of_other_types_and_layouts_become_one_vector() -> None:
    x = np.arange(12, dtype=np.float64).reshape(3, 4).T
    np.testing.assert_array_equal(flat_floats(x), x.ravel().astype(np.float32))
    assert flat_floats(np.float16([1, 2])).dtype == np.float32
    unaligned = np.frombuffer(b"\0" + np.float32([1, 2]).tobytes(), np.uint8)[1:].view(np.float32)
    assert finite_range(flat_floats(unaligned)) == (1, 2)
    same = np.ones((2, 2), np.float32)
    assert np.shares_memory(flat_floats(same), same)


@pytest.mark.parametrize("failure", [RuntimeError, PermissionError, EOFError, pickle.UnpicklingError])
def test_a_cache_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch, failure: type) -> None:
    compiled = numba.njit
    asked = []

    def njit(*, nogil: bool, cache: bool) -> Any:
        asked.append(cache)
        if cache:
            raise failure("no locator available for file")
        return compiled(nogil=nogil, cache=False)

    def double(x: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        out[0] = 2 * x[0]

    monkeypatch.setattr(numba, "njit", njit)
    kernel = jit.Kernel(double, (jit.FLOATS, jit.Argument("float32", 1)))
    result = np.zeros(1, np.float32)
    kernel(np.float32([21]), result)
    assert result == [42]
    assert asked == [True, False]


def test_numba_waits_for_the_first_use() -> None:
    code = "import qir.passes.registry, sys; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kernels_run_in_several_threads_at_once() -> None:
    data = np.random.default_rng(0).normal(size=50000).astype(np.float32)
    results: list[npt.NDArray[Any]] = [np.zeros(binning.SLOTS, np.uint32) for _ in range(4)]
    threads = [threading.Thread(target=count, args=(binning.count_covered, data, -10, r)) for r in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert results[0].sum() == data.size
