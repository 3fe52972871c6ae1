"""Sums per channel against numpy, and the metrics that follow from them against the metrics themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qir.runtime.mean_errors import channel_sums, follows_from_sums, mean_error, scores_by_sums, shifted
from qir.runtime.metrics import METRICS, metric_named

SHAPES = st.lists(st.integers(1, 40), min_size=2, max_size=4).map(tuple)
METRIC_NAMES = [metric.name for metric in METRICS if follows_from_sums(metric)]


@st.composite
def outputs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    shape = draw(SHAPES)
    numbers = st.floats(-100, 100, width=32)
    a, b = (draw(arrays.arrays(np.float32, shape, elements=numbers)) for _ in range(2))
    return a, b, draw(st.sampled_from([1, -1]))


@settings(max_examples=60, deadline=None)
@given(outputs())
def test_sums_are_those_of_numpy(pair: tuple[np.ndarray, np.ndarray, int]) -> None:
    a, b, axis = pair
    found = channel_sums(a, b, axis)
    assert found is not None
    others = tuple(i for i in range(a.ndim) if i != axis % a.ndim)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = [x, y, x * x, y * y, x * y]
    for row, each in zip(found.sums, expected, strict=True):
        np.testing.assert_allclose(row, each.sum(axis=others), rtol=1e-9, atol=1e-6)
    assert found.count * a.shape[axis] == a.size
    np.testing.assert_allclose(
        mean_error([found, None], a.shape[axis]), (x - y).mean(axis=others), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", METRIC_NAMES)
@pytest.mark.parametrize("axis", [1, -1])
def test_metrics_follow_with_a_shift_and_without(name: str, axis: int) -> None:
    random = np.random.default_rng(3)
    a = random.normal(size=(2, 5, 7, 3)).astype(np.float32)
    b = a + random.normal(0.2, 0.3, size=a.shape).astype(np.float32)
    metric, sums = metric_named(name), channel_sums(a, b, axis)
    assert sums is not None
    shift = mean_error([sums], a.shape[axis])
    other = channel_sums(b, b + 1, axis)
    assert other is not None
    found = scores_by_sums([sums, other], metric, np.zeros_like(shift))
    assert found == pytest.approx([metric.compare(a, b), metric.compare(b, b + 1)], rel=1e-6)
    moved = shifted(b.copy(), shift, axis)
    assert scores_by_sums([sums], metric, shift) == pytest.approx([metric.compare(a, moved)], rel=1e-5)
    assert metric.is_better(metric.compare(a, moved), metric.compare(a, b))


def test_outputs_of_other_shapes_have_no_sums() -> None:
    assert channel_sums(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32), -1) is None
    assert channel_sums(np.ones((0, 3), np.float32), np.ones((0, 3), np.float32), -1) is None


def test_what_cannot_be_written_to_is_copied() -> None:
    array = np.zeros((2, 3), np.float32)
    array.flags.writeable = False
    assert (shifted(array, np.array([1.0, 2.0, 3.0]), -1) == [1, 2, 3]).all()
    assert not array.any()
