"""The mean error of a layer's output channels, and what taking it away does to a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels import flat_floats
from qir.runtime.kernels.channel_sums import CHANNEL_SUMS, sum_channels
from qir.runtime.metrics import CosineSimilarity, MeanSquaredError, Metric, Sqnr, Sums
from qir.runtime.units import Array

F64 = npt.NDArray[np.float64]
_BY_SUMS = (CosineSimilarity, MeanSquaredError, Sqnr)
"""Metrics that follow from sums per channel, with a shift as well: the arrays are read once for both."""


@dataclass(frozen=True)
class ChannelSums:
    """Sums over each channel of a float and a quantized output of one sample: [CHANNEL_SUMS, channels].

    `count` is the number of elements of a channel.
    """

    sums: F64
    count: int

    @property
    def error(self) -> F64:
        """Σ (float - quantized) of each channel."""
        found: F64 = self.sums[0] - self.sums[1]
        return found


def scores_by_sums(sums: Sequence[ChannelSums], metric: Metric, shift: F64) -> list[float]:
    """The metric of each sample when the quantized output is shifted; only where it `follows_from_sums`."""
    if not sums:
        return []
    a, b, aa, bb, ab = np.stack([item.sums for item in sums], axis=1)  # each [samples, channels]
    counts = np.array([[item.count] for item in sums])
    signals = np.sum(aa, axis=1).tolist()
    if isinstance(metric, CosineSimilarity):
        moved = np.maximum(np.sum(bb + shift * (2 * b + counts * shift), axis=1), 0.0).tolist()
        products = np.sum(ab + shift * a, axis=1).tolist()
        return [metric.of_products(*each) for each in zip(signals, moved, products, strict=True)]
    assert isinstance(metric, (MeanSquaredError, Sqnr))
    left = (a - b) - counts * shift
    squares = np.maximum(np.sum((aa - 2 * ab + bb) - shift * ((a - b) + left), axis=1), 0.0).tolist()
    sizes = (counts[:, 0] * len(shift)).tolist()
    return [
        metric.of_sums(Sums(signal, square, np.nan, np.nan, np.nan, size))
        for signal, square, size in zip(signals, squares, sizes, strict=True)
    ]


def follows_from_sums(metric: Metric) -> bool:
    """Whether `scores_by_sums` knows the metric."""
    return type(metric) in _BY_SUMS


def channel_sums(expected: Array, found: Array, axis: int) -> ChannelSums | None:
    """The sums of two outputs with channels along `axis`; None for empty ones and for different shapes."""
    if expected.shape != found.shape or not expected.size:
        return None
    place = axis % expected.ndim
    channels, inner = expected.shape[place], int(np.prod(expected.shape[place + 1 :]))
    out = np.empty((CHANNEL_SUMS, channels), np.float64)
    sum_channels(flat_floats(expected), flat_floats(found), channels, inner, out)
    return ChannelSums(out, expected.size // channels)


def mean_error(sums: Sequence[ChannelSums | None], channels: int) -> F64:
    """The mean of (float - quantized) of each channel over all samples."""
    there = [item for item in sums if item is not None]
    total = sum((item.error for item in there), np.zeros(channels))
    found: F64 = total / max(sum(item.count for item in there), 1)
    return found


def shifted(array: Array, shift: F64, axis: int) -> Array:
    """An array with its channels shifted: the array itself where it can be written to."""
    along = shift.astype(array.dtype).reshape(-1, *[1] * (array.ndim - axis % array.ndim - 1))
    found: Array = np.add(array, along, out=array if array.flags.writeable else None)
    return found
