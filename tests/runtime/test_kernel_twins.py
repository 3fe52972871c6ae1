"""Kernels of comparisons and of range searches against what they are by definition, computed slowly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qir.runtime.kernels.differences import BLOCK, DIFFERENCES, LANES, PRODUCTS, sum_differences, sum_products
from qir.runtime.kernels.searching import add_inner_errors, divergences, tail_ranges

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

LENGTHS = [0, 1, LANES - 1, LANES, BLOCK - 1, BLOCK, BLOCK + LANES + 7, 3 * BLOCK, 1000]
COUNTS = hnp.arrays(np.float64, st.integers(8, 40), elements=st.integers(0, 50).map(float))


def whole_numbers(size: int, seed: int) -> F32:
    """Numbers whose float64 sums are exact, whatever their order."""
    return np.random.default_rng(seed).integers(-1000, 1000, size).astype(np.float32)


@pytest.mark.parametrize("size", LENGTHS)
def test_sums_over_two_arrays(size: int) -> None:
    a, b = whole_numbers(size, 1), whole_numbers(size, 2)
    products, differences = np.full(PRODUCTS, np.nan), np.full(DIFFERENCES, np.nan)
    sum_products(a, b, products)
    sum_differences(a, b, differences)
    p, q = a.astype(np.float64), b.astype(np.float64)
    assert products.tolist() == [p @ p, q @ q, p @ q]
    d = np.abs(p - q)
    assert differences.tolist() == [p @ p, d @ d, d.sum(), np.abs(p).sum(), d.max(initial=0)]


@pytest.mark.parametrize("size", [BLOCK, BLOCK + 9])
def test_the_largest_difference_is_found_and_nan_shows_wherever_it_stands(size: int) -> None:
    zeros, out = np.zeros(size, np.float32), np.zeros(DIFFERENCES)
    for place in range(size):
        for value in (-3.0, np.nan):
            a = zeros.copy()
            a[place] = value
            sum_differences(a, zeros, out)
            np.testing.assert_equal(out[-1], abs(value))
            sum_differences(zeros, a, out)
            np.testing.assert_equal(out[-1], abs(value))


def tails(counts: F64, step: float) -> list[tuple[int, int]]:
    """First and last bin of each range that is left when the emptier end loses the bins of a step."""
    left, right = 0, counts.size - 1
    found = []
    while right - left > (counts.size + 3) // 4:
        widths = range(1, right - left + 1)
        low = next((k for k in widths if counts[left : left + k].sum() >= step), right - left)
        high = next((k for k in widths if counts[right - k + 1 : right + 1].sum() >= step), right - left)
        left, right = (left + low, right) if low > high else (left, right - high)
        found.append((left, right))
    return found


@given(counts=COUNTS, step=st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_tails_are_dropped_step_by_step(counts: F64, step: int) -> None:
    found, number = np.full((counts.size, 2), -1), np.zeros(1, np.int64)
    tail_ranges(counts, float(step), found, number)
    expected = tails(counts, step)
    assert number[0] == len(expected)
    assert [tuple(pair) for pair in found[: number[0]].tolist()] == expected
    whole, none = np.full((2, 2), -1), np.zeros(1, np.int64)
    tail_ranges(np.ones(2), 1.0, whole, none)
    assert (whole[0].tolist(), none[0]) == ([0, 1], 0)


def inner_error(counts: F64, left: int, right: int, levels: int) -> float:
    """Integral over bins left..right of (x - centre of its cell)^2, piece by piece."""
    size = (right - left + 1) / levels
    total = 0.0
    for i in range(left, right + 1):
        for g in range(levels):
            low, high = max(i, left + g * size), min(i + 1, left + (g + 1) * size)
            centre = left + (g + 0.5) * size
            if low < high:
                total += counts[i] * ((high - centre) ** 3 - (low - centre) ** 3) / 3
    return total


def moments(counts: F64) -> list[F64]:
    """Integrals of 1, x and x^2 times the density below each edge."""
    edges = np.arange(counts.size + 1.0)
    return [
        np.concatenate([[0.0], np.cumsum(counts * np.diff(edges ** (k + 1)) / (k + 1))]) for k in range(3)
    ]


@given(counts=COUNTS, levels=st.sampled_from([2, 4, 16, 64, 256]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_inner_errors_are_the_integrals(counts: F64, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left = random.integers(0, counts.size - 3, 5)
    right = np.minimum(left + random.integers(1, counts.size, 5), counts.size - 1)
    before = random.uniform(0, 20, 5) * (random.random(5) < 0.5)
    loss = before.copy()
    add_inner_errors(counts, *moments(counts), left, right, levels, loss)
    least = np.inf
    for j in range(5):
        expected = before[j]
        if before[j] <= least:
            expected += inner_error(counts, int(left[j]), int(right[j]), levels)
            least = min(least, expected)
        assert loss[j] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def divergence(counts: F64, left: int, right: int, levels: int) -> float:
    """KL divergence of the counts, clipped into bins left..right-1, from `levels` groups of these."""
    inside, size = counts[left:right], right - left
    if inside.sum() == 0 or size < levels:
        return np.inf
    p, q = inside.copy(), np.zeros(size)
    p[0] += counts[:left].sum()
    p[-1] += counts[right:].sum()
    for g in range(levels):
        part = slice(g * size // levels, (g + 1) * size // levels)
        used = inside[part] > 0
        q[part][used] = inside[part].sum() / max(used.sum(), 1)
    q[(q == 0) & (p > 0)] = 1e-4
    some = p > 0
    p, q = p / p.sum(), q / inside.sum()
    return float((p[some] * np.log(p[some] / q[some])).sum())


@given(counts=COUNTS, levels=st.integers(2, 9), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_divergences_are_those_of_their_definition(counts: F64, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left = random.integers(0, counts.size // 2, 6)
    right = np.minimum(left + random.integers(1, counts.size, 6), counts.size)
    found = np.full(6, np.nan)
    divergences(counts, left, right, levels, found)
    expected = [divergence(counts, int(a), int(b), levels) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
