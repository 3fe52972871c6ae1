"""A histogram read as a distribution: where within their bins the elements are taken to lie.

Values that occur several times in a thin sample of the data are points: their bin's elements are theirs in
the proportion of the sample. All other elements of a bin are spread evenly over the part of it that lies
between minimum and maximum. The two extremes are known exactly and are points; so are the elements of a bin
that is cut to (nearly) nothing, such as a ReLU6's at 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.runtime.histogram import Histogram
from qir.runtime.kernels import ifmr_loss_density, ifmr_loss_points

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

NO_SAMPLE: F32 = np.empty(0, np.float32)
_THIN = 2.0**-10
"""A bin cut below this part of its width is a point."""


@dataclass(frozen=True)
class Density:
    """Elements per unit between consecutive edges, weights[i] elements at points[i]; without zeros."""

    edges: F64
    density: F64
    points: F32
    weights: F64

    def loss(self, scale: F32, low: F32, high: F32) -> F64:
        """Sum of squared errors when clipped to [low, high] and quantized by steps of `scale`, of each three.

        Not finite where float32 overflows.
        """
        spread = ifmr_loss_density(self.edges, self.density, scale, low, high)
        return spread + ifmr_loss_points(self.points, self.weights, scale, low, high)

    def coarse(self, bins: int) -> Density:
        """The same in at most so many equal bins, for a first look."""
        if self.density.size <= bins or not self.edges[0] < self.edges[-1]:
            return self
        edges = np.linspace(self.edges[0], self.edges[-1], bins + 1)
        spread = Density(self.edges, self.density, NO_SAMPLE, np.empty(0))
        return Density(edges, spread.counts(edges) / np.diff(edges), self.points, self.weights)

    def counts(self, edges: F64) -> F64:
        """Elements in each bin between ascending `edges`, a point on an edge in the bin after it.

        What lies beyond the first and the last edge is left out, but for points on the last edge.
        """
        below = np.concatenate([[0.0], np.cumsum(self.density * np.diff(self.edges))])
        found: F64 = np.maximum(np.diff(np.interp(edges, self.edges, below)), 0)
        index = np.searchsorted(edges, self.points, side="right") - 1
        index[self.points == edges[-1]] = found.size - 1
        inside = (index >= 0) & (index < found.size)
        np.add.at(found, index[inside], self.weights[inside])
        return found


def density_of(histogram: Histogram, sample: F32 = NO_SAMPLE) -> Density:
    """The distribution of the data in a non-empty histogram; `sample` are some of them, ascending."""
    edges, counts = _spanned(histogram)
    low, high = histogram.minimum, histogram.maximum
    points: list[float] = []
    weights: list[float] = []
    # When both extremes are one value, so are all elements: their bin has no width and becomes a point below.
    extremes = ((low, 0), (high, -1)) if low < high else ()
    for value, index in extremes:
        if value != 0:
            counts[index] -= 1
            points.append(value)
            weights.append(1.0)
    widths = np.diff(edges)
    for index in sorted({0, counts.size - 1}):
        if widths[index] < _THIN * histogram.width:
            points.append(float(edges[index]))
            weights.append(float(counts[index]))
            counts[index], widths[index] = 0, 1
    repeated, times = _take_repeated(histogram, counts, sample)
    return _without_gaps(
        Density(
            edges, counts / widths,
            np.concatenate([np.asarray(points, np.float32), repeated]),
            np.concatenate([np.asarray(weights, np.float64), times]),
        )
    )  # fmt: skip


def _take_repeated(histogram: Histogram, counts: F64, sample: F32) -> tuple[F32, F64]:
    """Values that occur more than once in the sample and how often in the data; taken out of `counts`."""
    values, hits = np.unique(sample[sample != 0], return_counts=True)
    bins = (values * np.float32(2.0**-histogram.exponent)).astype(np.int64) - _lowest(histogram)
    in_bin = np.bincount(bins, hits, counts.size)
    often = hits > 1
    values, hits, bins = values[often], hits[often], bins[often]
    times = counts[bins] * hits / in_bin[bins]
    counts -= np.bincount(bins, times, counts.size)
    np.maximum(counts, 0, out=counts)
    return values, times


def _without_gaps(given: Density) -> Density:
    """The distribution with runs of empty bins made one bin: there are many in the tails."""
    density = given.density
    kept = np.ones(density.size, bool)
    kept[1:] = (density[1:] != 0) | (density[:-1] != 0)
    edges = np.append(given.edges[:-1][kept], given.edges[-1])
    return Density(edges, density[kept], given.points, given.weights)


def value_at(histogram: Histogram, rank: int) -> float:
    """The value of ascending `rank` (1: the minimum), as near as the bins tell; in bin 0 it is 0."""
    if rank <= 1 or rank >= histogram.count:
        return histogram.minimum if rank <= 1 else histogram.maximum
    edges, counts = _spanned(histogram)
    zero_bin = -_lowest(histogram)
    if 0 <= zero_bin < counts.size:
        counts[zero_bin] += histogram.zeros
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, rank))
    if index == zero_bin:
        return 0.0
    before = float(cumulative[index] - counts[index])
    inside = (rank - before - 0.5) / float(counts[index])
    return float(edges[index] + (edges[index + 1] - edges[index]) * inside)


def _lowest(histogram: Histogram) -> int:
    """The bin of the minimum."""
    return int(histogram.minimum / histogram.width)


def _spanned(histogram: Histogram) -> tuple[F64, F64]:
    """Edges, cut to the range of the data, and counts of the bins from the minimum's to the maximum's."""
    width = histogram.width
    first, last = _lowest(histogram), int(histogram.maximum / width)
    bins = np.arange(first, last + 1)
    right = np.where(bins < 0, bins, bins + 1) * width
    left = (first - 1 if first <= 0 else first) * width
    edges = np.clip(np.concatenate([[left], right]), histogram.minimum, histogram.maximum)
    start = first - histogram.first
    return edges, histogram.counts[start : start + bins.size].astype(np.float64)
