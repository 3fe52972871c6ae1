"""Searches for weight scales: kernels against their twins, AMCT's golden vectors, what a search promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, ModelError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.kernels import weight_reference, weight_search
from qir.runtime.weights import Arq, Kl, Mse, fake_quantize, method

VECTORS = np.load(Path(__file__).parent.parent / "data" / "amct" / "vectors.npz")
TYPES = [DType.I4, DType.I5, DType.I6, DType.I7, DType.I8]
SCALES = st.floats(2.0**-12, 4.0, width=32)
Array = npt.NDArray[Any]


def matrices(largest: int, low: float = -100.0, high: float = 100.0) -> st.SearchStrategy[Array]:
    shape = st.tuples(st.integers(1, 4), st.integers(1, largest))
    return hnp.arrays(np.float32, shape, elements=st.floats(low, high, width=32))


def error_of(weights: Array, params: QuantParams) -> Array:
    """Sum of squared errors of each row."""
    return ((fake_quantize(weights, params).astype(np.float64) - weights) ** 2).sum(axis=1)


def laplace_rows(seed: int, rows: int, size: int) -> Array:
    return np.random.default_rng(seed).laplace(size=(rows, size)).astype(np.float32)


@given(x=matrices(600), seed=st.integers(0, 99), count=st.integers(1, 5), cut=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_projections_and_errors_equal_their_twins(x: Array, seed: int, count: int, cut: int) -> None:
    scale = np.random.default_rng(seed).uniform(0.01, 3, (len(x), count)).astype(np.float32)
    products, squares, errors = (np.full(scale.shape, np.nan) for _ in range(3))
    middle = min(cut, scale.size)
    for first, last in ((0, middle), (middle, scale.size)):
        weight_search.projections(x, scale, -8, 7, first, last, products, squares)
        weight_search.squared_errors(x, scale, -8, 7, first, last, errors)
    expected = weight_reference.projections(x, scale, -8, 7)
    np.testing.assert_array_equal(products, expected[0])
    np.testing.assert_array_equal(squares, expected[1])
    np.testing.assert_array_equal(errors, weight_reference.squared_errors(x, scale, -8, 7))


@given(x=matrices(300), levels=st.sampled_from([3, 15, 31, 63, 127, 255]), cut=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_histograms_and_divergences_equal_their_twins(x: Array, levels: int, cut: int) -> None:
    bound = np.maximum(np.abs(x).max(axis=1), np.float32(1e-3))
    counts, found = np.zeros((len(x), 512), np.int64), np.full((len(x), 6), np.nan)
    middle = min(cut, len(x))
    for first, last in ((0, middle), (middle, len(x))):
        weight_search.count_symmetric_bins(x, bound, first, last, counts)
        weight_search.divergences(counts, levels, first, last, found)
    np.testing.assert_array_equal(counts, weight_reference.count_symmetric_bins(x, bound, 512))
    np.testing.assert_allclose(found, weight_reference.divergences(counts, levels, 6), rtol=1e-9, atol=1e-13)


def test_bins_reach_from_bound_to_bound() -> None:
    counts = np.zeros((1, 4), np.int64)
    x = np.float32([[-1, -0.5, -0.25, 0, 0.25, 0.5, 1]])
    weight_search.count_symmetric_bins(x, np.float32([1]), 0, 1, counts)
    assert counts.tolist() == [[1, 2, 2, 2]]


def test_clipped_elements_count_at_the_ends() -> None:
    """Four bins of one element each, merged into two groups: nothing is lost, until unequal ends appear."""
    found = np.empty((1, 2))
    weight_search.divergences(np.int64([[1, 1, 1, 1, 1, 1, 1, 1]]), 2, 0, 1, found)
    assert found[0, 0] == 0
    # Clipped by one: [2, 1, 1 | 1, 1, 2], of which each group has 4 in 3 bins.
    assert found[0, 1] == pytest.approx((4 * np.log(2 / (4 / 3)) + 4 * np.log(1 / (4 / 3))) / 8)


@pytest.mark.parametrize(("axis", "key"), [(0, "kl_scale_cw1"), (None, "kl_scale_cw0")])
def test_kl_equals_amct(axis: int | None, key: str) -> None:
    params = Kl().close(VECTORS["arq_w"], QuantSpec(DType.I8, axis=axis))
    np.testing.assert_array_equal(params.scale_array(), VECTORS[key])
    assert (VECTORS[key] == 1).any() == (axis == 0)  # the channel of zeros


@given(x=matrices(40), qtype=st.sampled_from(TYPES), axis=st.sampled_from([0, 1, None]))
@settings(max_examples=80, deadline=None)
def test_mse_is_never_above_arq(x: Array, qtype: DType, axis: int | None) -> None:
    spec = QuantSpec(qtype, axis=axis)
    least, whole = Mse().close(x, spec), Arq().close(x, spec)
    rows = x.reshape(1, -1) if axis is None else x.T if axis else x
    row_spec = QuantSpec(qtype, axis=0)
    errors = [error_of(rows, QuantParams.of(row_spec, p.scale_array())) for p in (least, whole)]
    assert (errors[0] <= errors[1] * (1 + 1e-12)).all()


@pytest.mark.parametrize("qtype", TYPES)
def test_mse_clips_outliers_and_kl_stays_in_its_range(qtype: DType) -> None:
    weights, spec = laplace_rows(1, 8, 4000), QuantSpec(qtype, axis=0)
    whole = Arq().close(weights, spec)
    ratio = error_of(weights, Mse().close(weights, spec)) / error_of(weights, whole)
    assert ratio.max() < {4: 0.57, 5: 0.69, 6: 0.87, 7: 0.95, 8: 0.998}[qtype.bits]
    bound = np.abs(weights).max(axis=1)
    kept = Kl().close(weights, spec).scale_array() * 2 ** (qtype.bits - 1) / bound
    assert kept.max() <= 1
    assert kept.min() >= 1 - 19 / 256
    assert Kl(100).close(weights, spec).scale_array().max() < bound.max() / 2 ** (qtype.bits - 1)


def test_mse_finds_the_grid_on_which_weights_lie() -> None:
    steps = np.random.default_rng(2).integers(-110, 111, (3, 50)).astype(np.float32)
    steps[:, 0] = 110
    params = Mse().close(steps * np.float32([[0.01], [3], [1e-4]]), QuantSpec(DType.I8, axis=0))
    np.testing.assert_allclose(params.scale_array(), [0.01, 3, 1e-4], rtol=1e-6)


@pytest.mark.parametrize("search", [Mse(), Kl()])
def test_threads_change_nothing(search: Mse | Kl, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, found = laplace_rows(3, 37, 300), []
    for threads in (1, 2, 7):
        monkeypatch.setattr(method, "cores", lambda n=threads: n)
        monkeypatch.setattr(method, "_SMALL", 1)
        found.append([search.close(weights, QuantSpec(DType.I8, axis=axis)) for axis in (0, 1, None)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("search", [Mse(), Kl()])
def test_rows_at_the_ends_of_float32(search: Mse | Kl) -> None:
    """Zeros and rows too small for a scale get scale 1, as under ARQ; huge ones a usable scale."""
    rows = np.float32([[0, 0, 0], [1e-7, -1e-7, 0], [1e-40, 0, 0], [3e38, -3e38, 1e38], [-1, 0, 0]])
    scale = search.close(rows, QuantSpec(DType.I8, axis=0)).scale_array()
    np.testing.assert_array_equal(scale[:3], 1)
    assert 3e38 / 128 * 0.9 < scale[3] < 3e38 / 127 * 1.25
    assert scale[4] == np.float32(1 / 128)


def test_other_precisions() -> None:
    weights = laplace_rows(4, 2, 100)
    wide = QuantSpec(DType.I16, axis=0)
    assert (
        error_of(weights, Mse().close(weights, wide)) <= error_of(weights, Arq().close(weights, wide))
    ).all()
    with pytest.raises(ConfigError, match="method kl is for weights of at most 8 bits, not i16"):
        Kl().close(weights, wide)
    for search in (Mse(), Kl()):
        with pytest.raises(ConfigError, match="is for symmetric weights; use arq"):
            search.close(weights, QuantSpec(DType.I8, symmetric=False))
        with pytest.raises(ModelError, match="1 of 1 weights are NaN or infinite"):
            search.close(np.float32([np.inf]), QuantSpec(DType.I8))
        half = weights.astype(np.float16)
        spec = QuantSpec(DType.I8, axis=0)
        assert search.close(half, spec) == search.close(half.astype(np.float32), spec)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Mse(start=0.0), "0 < start <= end <= 2 and step > 0"),
        (lambda: Mse(start=1.3), "0 < start <= end <= 2"),
        (lambda: Mse(step=-0.1), "step > 0"),
        (lambda: Mse(step=1e-6), "1000 candidates at most"),
        (lambda: Kl(0), "method kl tries 1 to 128 candidates, not 0"),
        (lambda: Kl(129), "not 129"),
    ],
)
def test_options_out_of_range(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()
