"""Distributions of quantized activations in the report: calibration statistics as bars, and the range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant, quant_of
from qir.report.entries import range_of
from qir.report.plain import Entries
from qir.runtime.histogram import I64, Histogram
from qir.runtime.statistics import TensorStatistics
from qir.runtime.statistics_file import Statistics

BINS = 48
"""At most so many bars does a picture of the report have."""


def histogram_entries(graph: Graph, collected: Sequence[Statistics]) -> list[Entries]:
    """An entry for each quantized activation that `collected` statistics know, in running order."""
    found = []
    for node in graph.nodes:
        value = node.inputs[0] if is_quant(node) else None
        if value is None or value.constant is not None:
            continue
        statistics = next((s[value.name] for s in collected if value.name in s), None)
        span = range_of(quant_of(node.output))
        if statistics is not None and statistics.count and span is not None:
            found.append(_entry(node, value.name, statistics, span))
    return found


def _entry(
    quant: Node, tensor: str, statistics: TensorStatistics, span: tuple[float, int, float, float]
) -> Entries:
    """`counts[i]` elements lie in [left + i step, left + (i + 1) step); zeros are counted apart.

    `span` is scale, zero point, and the range; what lies outside it by less than half a step is not clipped.
    """
    scale, _, low, high = span
    histogram = statistics.histogram
    counts = histogram.counts
    left, step, bars = _bars(histogram, counts)
    readers = [use.node.name for use in quant.output.uses]
    return {
        "tensor": tensor,
        "layers": [*readers],
        "count": statistics.count,
        "least": statistics.minimum,
        "greatest": statistics.maximum,
        "low": low,
        "high": high,
        "zero_share": histogram.zeros / statistics.count,
        "outside_share": _outside(histogram, counts, low - scale / 2, high + scale / 2) / statistics.count,
        "left": left,
        "step": step,
        "counts": [*bars],
    }


def _bars(histogram: Histogram, counts: I64) -> tuple[float, float, list[int]]:
    """Left edge, width and counts of neighbouring bins put together; nothing is lost."""
    together = -(-len(counts) // BINS)
    padded = np.concatenate([counts, np.zeros(-len(counts) % together, counts.dtype)])
    left = _left_edge(histogram.first, histogram)
    return left, together * histogram.width, padded.reshape(-1, together).sum(1).tolist()


def _left_edge(place: int, histogram: Histogram) -> float:
    """Where bin `place` begins: bins are cut towards zero, so that bin 0 reaches from -width to width."""
    if place <= 0 and histogram.minimum < 0:
        return (place - 1) * histogram.width
    return place * histogram.width


def _outside(histogram: Histogram, counts: I64, low: float, high: float) -> int:
    """Elements in bins that lie wholly outside [low, high]: right to within the bins at either end."""
    places = np.arange(histogram.first, histogram.last + 1)
    starts = np.where(places <= 0, places - 1, places) * histogram.width
    ends = np.where(places < 0, places, places + 1) * histogram.width
    outside = (ends < low) | (starts > high)
    return int(counts[outside].sum())
