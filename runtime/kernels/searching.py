"""Losses of clipping ranges on histograms with equal bins, compiled: those of hfmg and of kl."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import COUNT, DOUBLES, Argument, kernel

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_INDICES = Argument("int64", 1, readonly=True)
_RESULTS = Argument("float64", 1)


@kernel(DOUBLES, Argument("float64"), _INDICES, _INDICES, COUNT, _RESULTS)
def hfmg_losses(counts: F64, width: float, left: I64, right: I64, levels: int, loss: F64) -> None:
    """loss[j] = squared error of data spread evenly in bins when bins left[j]..right[j] are divided into
    `levels` equal cells whose centres stand for them; beyond, the first and the last centre do.

    Within a cell the error of a bin from b to e around the centre c is counts / width * ((e - c)^3 - (b -
    c)^3) / 3; bins beyond the range are summed by their moments. Where these alone exceed the least loss so
    far, they are all that is computed: the least loss and its place come out right.
    """
    n = counts.size
    least = np.inf
    moments = np.zeros((3, n + 1))
    for i in range(n):
        moments[0, i + 1] = moments[0, i] + counts[i]
        moments[1, i + 1] = moments[1, i] + counts[i] * (i + 0.5)
        moments[2, i + 1] = moments[2, i] + counts[i] * (i + 0.5) * (i + 0.5)
    for j in range(left.size):
        first, last = left[j], right[j]
        cell = width * (last - first + 1) / levels
        if cell < 1.192092896e-07:
            loss[j] = least = 0.0
            continue
        # In units of the width of a bin, from the lower end of bin 0.
        size = cell / width
        low, high = first + size / 2, first + (levels - 0.5) * size
        total = 0.0
        for side in range(2):
            start, stop, centre = (0, first, low) if side == 0 else (last + 1, n, high)
            total += (
                moments[2, stop] - moments[2, start] - 2 * centre * (moments[1, stop] - moments[1, start])
            )
            total += (centre * centre + 1.0 / 12.0) * (moments[0, stop] - moments[0, start])
        loss[j] = total * width * width
        if loss[j] > least:
            continue
        whole = size * size * size / 12
        for i in range(first, last + 1):
            if counts[i] == 0:
                continue
            begin, end = i - first, i - first + 1
            a = min(max(np.floor(begin / size), 0.0), levels - 1.0)
            b = min(max(np.floor(end / size), 0.0), levels - 1.0)
            u, v = begin - (a + 0.5) * size, end - (b + 0.5) * size
            third = (v * v * v - u * u * u) / 3 + (b - a) * whole
            total += counts[i] * third
        loss[j] = total * width * width
        least = min(least, loss[j])


@kernel(DOUBLES, _INDICES, _INDICES, COUNT, _RESULTS)
def divergences(counts: F64, left: I64, right: I64, levels: int, found: F64) -> None:
    """found[j] = KL divergence between the counts, clipped into bins left[j]..right[j]-1, and what `levels`
    equal groups of those bins leave of them: in a group all bins that are not empty count the same.

    Clipped counts belong to the outermost bins of the first distribution and to none of the second, as in
    TensorRT. A bin that only clipped counts fill has a count of 0.0001 in the second. Infinite when nothing
    is inside, and for fewer bins than levels.
    """
    n = counts.size
    sums, filled, entropies = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for i in range(n):
        c = counts[i]
        sums[i + 1] = sums[i] + c
        filled[i + 1] = filled[i] + (1.0 if c > 0 else 0.0)
        entropies[i + 1] = entropies[i] + (c * np.log(c) if c > 0 else 0.0)
    total = sums[n]
    for j in range(left.size):
        first, last = left[j], right[j]
        inside = sums[last] - sums[first]
        found[j] = np.inf
        if inside <= 0 or last - first < levels:
            continue
        # Sum of p log p - p log q: of all bins inside, then what clipping changes at the ends.
        divergence = entropies[last] - entropies[first]
        for g in range(levels):
            a, b = first + g * (last - first) // levels, first + (g + 1) * (last - first) // levels
            held, used = sums[b] - sums[a], filled[b] - filled[a]
            if used > 0:
                divergence -= held * np.log(held / used)
        for side in range(2):
            clipped = sums[first] if side == 0 else total - sums[last]
            if clipped <= 0:
                continue
            bin = first if side == 0 else last - 1
            g = 0 if side == 0 else levels - 1
            a, b = first + g * (last - first) // levels, first + (g + 1) * (last - first) // levels
            held, used, c = sums[b] - sums[a], filled[b] - filled[a], counts[bin]
            q = held / used if c > 0 else 1e-4
            divergence += (c + clipped) * np.log(c + clipped) - (c * np.log(c) if c > 0 else 0.0)
            divergence -= clipped * np.log(q)
        found[j] = divergence / total - np.log(total) + np.log(inside)
