"""Box plots of a node's channels; where there are many, bands along the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qir.debug.plots.canvas import new_figure, png_of, sample_count
from qir.debug.spreads import Boxes, ChannelTable
from qir.sensitivity_plot import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_HEIGHT, _FRAME_HEIGHT = 3.2, 0.5
_LONGEST_TITLE, _LONGEST_HEAD = 70, 80
_MOST_BOXES = 64
"""More channels are drawn as bands."""


def channels_plot(table: ChannelTable, place: int) -> bytes:
    """A PNG with the channels of one of the nodes. ConfigError when matplotlib is missing."""
    node = table.nodes[place]
    figure = new_figure(_FRAME_HEIGHT + _ROW_HEIGHT * max(len(node.boxes), 1))
    name, samples = short_name(node.node, _LONGEST_HEAD), sample_count(table.samples)
    title = f"{name} ({node.op}), channel by channel; {samples}"
    figure.suptitle(title, fontsize=11, parse_math=False)
    for axes, boxes in zip(
        figure.subplots(len(node.boxes), 1, squeeze=False).ravel(), node.boxes, strict=True
    ):
        _draw(axes, boxes)
    return png_of(figure)


def _draw(axes: Axes, boxes: Boxes) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - heavy, and an extra

    count = len(boxes.median)
    name = short_name(boxes.tensor, _LONGEST_TITLE)
    axes.set_title(f"{boxes.of} {name}: {count} channels, axis {boxes.axis}", fontsize=9, parse_math=False)
    if count <= _MOST_BOXES:
        _draw_boxes(axes, boxes)
    else:
        _draw_bands(axes, boxes)
    axes.set_xlim(-0.7, count - 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.set_xlabel("channel")
    axes.set_ylabel("value")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(y=0.12)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=7, frameon=False, borderaxespad=0.2
    )


def _draw_boxes(axes: Axes, boxes: Boxes) -> None:
    rows = zip(boxes.least, boxes.lower, boxes.median, boxes.upper, boxes.greatest, strict=True)
    names = ("whislo", "q1", "med", "q3", "whishi")
    stats = [dict(zip(names, row, strict=True)) for row in rows]
    axes.bxp(
        stats, positions=range(len(stats)), widths=0.6, showfliers=False, patch_artist=True,
        manage_ticks=False, boxprops={"facecolor": "#9ecae1", "linewidth": 0.8}, medianprops={"color": "C1"},
    )  # fmt: skip
    axes.plot([], [], color="black", linewidth=0.8, label="least to greatest")
    axes.fill_between([], [], [], color="#9ecae1", label="middle half")
    axes.plot([], [], color="C1", label="median")


def _draw_bands(axes: Axes, boxes: Boxes) -> None:
    places = range(len(boxes.median))
    axes.fill_between(
        places, boxes.least, boxes.greatest, step="mid", color="#deebf7", label="least to greatest"
    )
    axes.fill_between(places, boxes.lower, boxes.upper, step="mid", color="#6baed6", label="middle half")
    axes.step(places, boxes.median, where="mid", color="C1", linewidth=0.8, label="median")
