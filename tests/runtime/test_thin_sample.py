"""A thin sample of values is the same whatever the order, and takes from all channels alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qir.ir.dtypes import DType
from qir.ir.types import QuantSpec
from qir.runtime.calibration import Ifmr, ifmr_exact
from qir.runtime.statistics import TensorStatistics
from qir.runtime.thin_sample import LIMIT as THIN_LIMIT
from qir.runtime.thin_sample import ThinSample

Vector = npt.NDArray[np.float32]


def _samples(rng: np.random.Generator) -> list[Vector]:
    """Tensors of different sizes with a few values that come again and again."""
    often = rng.normal(size=5).astype(np.float32)
    found = []
    for size in (1, 7, 500, 40_000, 9_000, 90_000):
        values = rng.normal(size=size).astype(np.float32)
        places = rng.random(size) < 0.3
        values[places] = rng.choice(often, places.sum())
        found.append(values)
    return found


@given(draw=st.data())
@settings(max_examples=15, deadline=None)
def test_a_thin_sample_depends_on_no_order_and_merge(draw: st.DataObject) -> None:
    samples = _samples(np.random.default_rng(0))
    whole = ThinSample()
    for index, values in enumerate(samples):
        whole.add(index, values)
    parts = [ThinSample() for _ in range(3)]
    for index in draw.draw(st.permutations(range(len(samples)))):
        parts[draw.draw(st.integers(0, 2))].add(index, samples[index])
    first, *others = draw.draw(st.permutations(parts))
    for other in others:
        first.add_all(other)
    assert first.level == whole.level > 0
    assert THIN_LIMIT / 4 < len(whole) <= THIN_LIMIT
    for mine, theirs in zip(first.arrays(), whole.arrays(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    again = ThinSample.of_arrays(whole.level, *whole.arrays())
    np.testing.assert_array_equal(again.values, whole.values)


@pytest.mark.parametrize("channels", [3, 8, 96, 384])
def test_a_thin_sample_meets_all_channels_alike(channels: int) -> None:
    thin = ThinSample()
    for index in range(20):
        thin.add(index, np.tile(np.arange(channels, dtype=np.float32) + 1, 50_000 // channels))
    found = np.bincount(thin.values.astype(int), minlength=channels + 1)[1:]
    assert found.min() > 0.5 * len(thin) / channels
    assert found.max() < 1.5 * len(thin) / channels


def test_values_that_come_again_and_again_are_points_of_the_density() -> None:
    samples = _samples(np.random.default_rng(1))
    statistics = TensorStatistics()
    for index, values in enumerate(samples):
        statistics.update(values, sample=index)
    values, times = np.unique(np.concatenate(samples), return_counts=True)
    density = statistics.density
    for value, count in zip(values[times > 1000], times[times > 1000], strict=True):
        estimated = density.weights[density.points == value].sum()
        assert estimated == pytest.approx(count, rel=0.05)
    # With 16 bits the steps are finer than the bins, and only the points tell what becomes of such values.
    data = np.concatenate(samples)
    for spec in (QuantSpec(DType.I16), QuantSpec(DType.I16, False), QuantSpec(DType.I8, False)):
        assert Ifmr().close(statistics, spec) == ifmr_exact(data, spec)
