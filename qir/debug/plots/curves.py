"""Curves: the error along the graph, and the effect of raising nodes one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qir.debug.plots.canvas import NAMED, name_nodes, new_figure, png_of, sample_count
from qir.debug.tables import ErrorTable, PartialTable
from qir.runtime.metrics import Metric
from qir.sensitivity_plot import SCALES, Scale, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT, _NAMES_HEIGHT, _LEGEND_ROW = 4.6, 1.6, 0.22
"""Inches: of the axes, of names below them, of a row of the legend."""
_COLUMNS = 3
_LONGEST_LABEL = 40


def error_plot(table: ErrorTable) -> bytes:
    """A PNG with a curve per variant. ConfigError when matplotlib is missing."""
    names = [node.node for node in table.nodes]
    rows = -(-len(table.curves) // _COLUMNS)
    figure = new_figure(_height(len(names)) + rows * _LEGEND_ROW)
    mean = ", mean over the nodes up to there" if table.average_mode else ""
    figure.suptitle(
        f"Error of every node's result along the graph{mean}; mean of {sample_count(table.samples)}",
        fontsize=11,
    )
    axes = figure.subplots()
    scale = _scale(table.metric)
    for curve in table.curves:
        heights = [_height_of(scale, score) for score in curve.scores]
        label = short_name(curve.label, _LONGEST_LABEL)
        _draw(axes, heights, label)
    _finish(axes, scale, [h for curve in table.curves for h in _drawn(scale, curve.scores)])
    name_nodes(axes, names, "node in running order")
    _legend(axes)
    return png_of(figure)


def partial_plot(table: PartialTable) -> bytes:
    """A PNG with both curves. ConfigError when matplotlib is missing."""
    names = [row.node for row in table.rows]
    figure = new_figure(_height(len(names)) + 2 * _LEGEND_ROW)
    figure.suptitle(
        f"Nodes to raise, the most sensitive first; mean of {sample_count(table.samples)}", fontsize=11
    )
    axes = figure.subplots()
    scale = _scale(table.metric)
    curves = (
        ("only this node quantized", [row.alone for row in table.rows]),
        ("this and all nodes to its left in float, the rest quantized", [row.without for row in table.rows]),
    )
    for label, scores in curves:
        _draw(axes, [_height_of(scale, score) for score in scores], label)
    whole = _height_of(scale, table.all_quantized)
    if not math.isnan(whole):
        axes.axhline(whole, color="0.4", linestyle="--", linewidth=1, label="everything quantized")
    if table.saturates_at is not None:
        label = f"from here on less than 1 % is gained ({table.saturates_at} nodes)"
        axes.axvline(table.saturates_at, color="0.6", linestyle=":", linewidth=1.5, label=label)
    elif table.still_gains:
        axes.plot([], [], " ", label="the last node still gains: a higher threshold analyses more")
    every = [s for _, scores in curves for s in scores]
    _finish(axes, scale, _drawn(scale, [*every, table.all_quantized]))
    name_nodes(axes, names, "node, the most sensitive first")
    _legend(axes, 2)
    return png_of(figure)


def _height(nodes: int) -> float:
    return _HEIGHT + (_NAMES_HEIGHT if nodes <= NAMED else 0)


def _draw(axes: Axes, heights: Sequence[float], label: str) -> None:
    is_long = len(heights) > NAMED
    size, width = (3.0, 1.0) if is_long else (6.0, 1.4)
    axes.plot(range(1, len(heights) + 1), heights, marker=".", markersize=size, linewidth=width, label=label)


def _scale(metric: Metric) -> Scale:
    return SCALES.get(metric.name, Scale(metric.name, logarithmic=False))


def _height_of(scale: Scale, score: float | None) -> float:
    """Where a score is drawn; NaN leaves a gap: no floats, or equal on a logarithmic axis."""
    if score is None:
        return math.nan
    height = scale.length(score)
    if not math.isfinite(height) or (scale.logarithmic and height <= scale.noise):
        return math.nan
    return height


def _drawn(scale: Scale, scores: Sequence[float | None]) -> list[float]:
    return [h for h in (_height_of(scale, score) for score in scores) if not math.isnan(h)]


def _finish(axes: Axes, scale: Scale, heights: Sequence[float]) -> None:
    axes.set_ylabel(scale.label)
    if scale.logarithmic and heights:
        axes.set_yscale("log")
        low, high = min(heights), max(heights)
        axes.set_ylim(low / 1.5, high * 1.5)
    if not heights:
        axes.text(0.5, 0.5, "no differences", transform=axes.transAxes, ha="center", va="center")
    axes.grid(alpha=0.3, which="both" if len(heights) and max(heights) < 100 * min(heights) else "major")
    axes.set_axisbelow(True)


def _legend(axes: Axes, columns: int = _COLUMNS) -> None:
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=8, frameon=False, borderaxespad=0.2
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
