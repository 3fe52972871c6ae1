"""Histograms of a node: what it reads with the range of its integers, weights, and output with its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qir.debug.plots.canvas import new_figure, png_of, sample_count
from qir.debug.spreads import Bars, DistributionTable
from qir.sensitivity_plot import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_HEIGHT, _FRAME_HEIGHT = 3.2, 0.5
_COLUMNS = 2
_LONGEST_TITLE, _LONGEST_HEAD = 44, 80
_BEFORE = {"weight quantized": "weight", "output quantized": "output"}
"""Series that are drawn over the one that they come of."""


def distribution_plot(table: DistributionTable, place: int) -> bytes:
    """A PNG with the histograms of one of the nodes. ConfigError when matplotlib is missing."""
    node = table.nodes[place]
    panels = _panels(node.histograms)
    rows = max(-(-len(panels) // _COLUMNS), 1)
    figure = new_figure(_FRAME_HEIGHT + _ROW_HEIGHT * rows)
    title = f"{short_name(node.node, _LONGEST_HEAD)} ({node.op}); {sample_count(table.samples)}"
    figure.suptitle(title, fontsize=11, parse_math=False)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    return png_of(figure)


def _panels(histograms: tuple[Bars, ...]) -> list[list[Bars]]:
    """Histograms that belong into the same axes."""
    panels: list[list[Bars]] = []
    for item in histograms:
        before = _BEFORE.get(item.series)
        if before is not None and panels and panels[-1][0].series == before:
            panels[-1].append(item)
        else:
            panels.append([item])
    return panels


def _draw(axes: Axes, panel: list[Bars]) -> None:
    first = panel[0]
    axes.set_title(f"{first.series} {short_name(first.tensor, _LONGEST_TITLE)}", fontsize=9, parse_math=False)
    for number, item in enumerate(panel):
        shares = 100 * np.array(item.counts) / max(item.count, 1)
        edges = item.left + item.step * np.arange(len(item.counts) + 1)
        label = f"{item.series}; {100 * item.zero_share:.2g} % are exactly 0, not drawn"
        filled = number == 0
        axes.stairs(shares, edges, fill=filled, color=f"C{number}", alpha=0.5 if filled else 1, label=label)
    if first.low is not None and first.high is not None and first.outside_share is not None:
        label = f"range of the integers; {100 * first.outside_share:.2g} % outside"
        for i, edge in enumerate((first.low, first.high)):
            axes.axvline(edge, color="C3", linestyle="--", linewidth=1, label=label if i == 0 else None)
    if any(any(item.counts) for item in panel):
        axes.set_yscale("log")
    axes.locator_params(axis="x", nbins=6)  # numbers of many digits are not to touch
    axes.set_xlabel("value")
    axes.set_ylabel("share of the values (%)")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35 if low > 0 else high)  # room for the legend
    axes.legend(loc="upper right", fontsize=7, framealpha=0.9, edgecolor="none")
