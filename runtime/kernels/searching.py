"""Losses of clipping ranges on histograms with equal bins, compiled: those of hfmg and of kl."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qir.runtime.kernels.jit import COUNT, DOUBLES, Argument, kernel

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_INDICES = Argument("int64", 1, readonly=True)
_RESULTS = Argument("float64", 1)


@kernel(DOUBLES, Argument("float64"), Argument("int64", 2), Argument("int64", 1))
def tail_ranges(counts: F64, step: float, found: I64, number: I64) -> None:
    """found[:number[0]] = first and last bin of ranges that drop ever more bins from the ends.

    Of the fewest bins that hold `step` elements at the lower end and at the upper one, the larger number is
    dropped, at the upper end of equals, until a quarter of the bins is left. Without any, the whole range.
    """
    left, right, k = 0, counts.size - 1, 0
    found[0, 0], found[0, 1] = left, right
    while right - left > (counts.size + 3) // 4:
        up, held = left, 0.0
        while up < right and held < step:
            held += counts[up]
            up += 1
        down, held = right, 0.0
        while down > left and held < step:
            held += counts[down]
            down -= 1
        if up - left > right - down:
            left = up
        else:
            right = down
        found[k, 0], found[k, 1] = left, right
        k += 1
    number[0] = k


@kernel(DOUBLES, DOUBLES, DOUBLES, DOUBLES, _INDICES, _INDICES, COUNT, _RESULTS)
def add_inner_errors(
    counts: F64, below: F64, below_x: F64, below_xx: F64, left: I64, right: I64, levels: int, loss: F64
) -> None:
    """Add to loss[j] the squared error of data in bins left[j]..right[j] when `levels` equal cells divide
    these, and the centre of a cell stands for its data; in units of the width of a bin.

    Data are spread evenly in bins. below, below_x and below_xx are the sums of 1, x and x^2 under each edge.
    A loss that exceeds the least one so far before is left alone: the least one and its place come out right.
    """
    least = np.inf
    for j in range(left.size):
        if loss[j] > least:
            continue
        first, last = left[j], right[j]
        size = (last - first + 1) / levels
        total = below_xx[last + 1] - below_xx[first]
        zeroth, linear = below[first], below_x[first]
        if levels < 2 * (last - first + 1):
            for g in range(levels):
                centre = first + (g + 0.5) * size
                x = first + (g + 1) * size
                i = min(int(x), last)
                f = x - i
                next_zeroth = below[i] + counts[i] * f
                next_linear = below_x[i] + counts[i] * f * (i + 0.5 * f)
                total += centre * centre * (next_zeroth - zeroth) - 2 * centre * (next_linear - linear)
                zeroth, linear = next_zeroth, next_linear
        else:
            total = 0.0
            for i in range(first, last + 1):
                a = min(np.floor((i - first) / size), levels - 1.0)
                b = min(np.floor((i - first + 1) / size), levels - 1.0)
                u, v = (i - first) - (a + 0.5) * size, (i - first + 1) - (b + 0.5) * size
                total += counts[i] * ((v * v * v - u * u * u) / 3 + (b - a) * size * size * size / 12)
        loss[j] += total
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
            bin, g = (first, 0) if side == 0 else (last - 1, levels - 1)
            a, b = first + g * (last - first) // levels, first + (g + 1) * (last - first) // levels
            held, used, c = sums[b] - sums[a], filled[b] - filled[a], counts[bin]
            q = held / used if c > 0 else 1e-4
            divergence += (c + clipped) * np.log(c + clipped) - (c * np.log(c) if c > 0 else 0.0)
            divergence -= clipped * np.log(q)
        found[j] = divergence / total - np.log(total) + np.log(inside)
