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
from qir.runtime.kernels.binning import BINS

F64 = npt.NDArray[np.float64]

_THIN = 2.0**-10
"""A bin cut below this part of its width is a point."""


@dataclass(frozen=True)
class Density:
    """Elements per unit between consecutive edges, and points (value, count); zeros, free of error, left out."""

    edges: F64
    density: F64
    points: tuple[tuple[float, float], ...]


def density_of(histogram: Histogram, minimum: float, maximum: float) -> Density:
    """The distribution of data in [minimum, maximum] with this histogram."""
    first, edges, counts = _spanned(histogram, minimum, maximum)
    if first <= 0 <= first + counts.size - 1:
        counts[-first] -= histogram.zeros
    points = []
    # When both extremes are one value, all elements are; their bin has no width and is a point below.
    extremes = (minimum, maximum) if minimum < maximum else ()
    for value, bin_index in zip(extremes, (0, -1), strict=False):
        if value != 0:
            counts[bin_index] -= 1
            points.append((value, 1.0))
    widths = np.diff(edges)
    for bin_index in sorted({0, counts.size - 1}):
        if widths[bin_index] < _THIN * histogram.width:
            points.append((float(edges[bin_index]), float(counts[bin_index])))
            counts[bin_index], widths[bin_index] = 0, 1
    return Density(edges, counts / widths, tuple(points))


def value_at(histogram: Histogram, minimum: float, maximum: float, rank: int) -> float:
    """The value of ascending `rank` (1 is the minimum), as near as the bins tell; in bin 0 it is 0."""
    _, edges, counts = _spanned(histogram, minimum, maximum)
    total = int(counts.sum())
    if rank <= 1 or rank >= total:
        return minimum if rank <= 1 else maximum
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, rank))
    left, right = float(edges[index]), float(edges[index + 1])
    if left < 0 < right or 0 in (left, right):
        return 0.0
    inside = rank - float(cumulative[index] - counts[index])
    return left + (right - left) * (inside - 0.5) / float(counts[index])


def _spanned(histogram: Histogram, minimum: float, maximum: float) -> tuple[int, F64, F64]:
    """The bins that data in [minimum, maximum] touch: the first, their edges cut to that range, counts."""
    width = histogram.width
    first, last = int(minimum / width), int(maximum / width)
    bins = np.arange(first, last + 1)
    right = np.where(bins < 0, bins, bins + 1) * width
    left = (first - 1 if first <= 0 else first) * width
    edges = np.clip(np.concatenate([[left], right]), minimum, maximum)
    return first, edges, histogram.counts[first + BINS : last + 1 + BINS].astype(np.float64)
