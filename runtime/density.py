"""A histogram read as a distribution: where within their bins the elements are taken to lie.

The elements of a bin are spread evenly over the part of it that lies between minimum and maximum. The two
extremes are known exactly and are points; so are the elements of a bin that is cut to (nearly) nothing, such
as a ReLU6's at 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.runtime.histogram import Histogram

F64 = npt.NDArray[np.float64]

_THIN = 2.0**-10
"""A bin cut below this part of its width is a point."""


@dataclass(frozen=True)
class Density:
    """Elements per unit between consecutive edges, and points (value, count); zeros are left out."""

    edges: F64
    density: F64
    points: tuple[tuple[float, float], ...]


def density_of(histogram: Histogram) -> Density:
    """The distribution of the data in a non-empty histogram."""
    edges, counts = _spanned(histogram)
    low, high = histogram.minimum, histogram.maximum
    points = []
    # When both extremes are one value, so are all elements: their bin has no width and becomes a point below.
    extremes = ((low, 0), (high, -1)) if low < high else ()
    for value, index in extremes:
        if value != 0:
            counts[index] -= 1
            points.append((value, 1.0))
    widths = np.diff(edges)
    for index in sorted({0, counts.size - 1}):
        if widths[index] < _THIN * histogram.width:
            points.append((float(edges[index]), float(counts[index])))
            counts[index], widths[index] = 0, 1
    return Density(edges, counts / widths, tuple(points))


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
