"""What all pictures share: size, resolution, names that fit, and the way to bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from qir.sensitivity_plot import check_plots, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.0
"""Inches."""
NAMED = 40
"""Up to so many nodes along an axis have their names at it; more are numbered."""
_DOTS_PER_INCH = 100
_LONGEST_TICK = 28


def new_figure(height: float) -> Figure:
    """An empty figure of WIDTH by `height` inches; ConfigError when matplotlib is missing."""
    check_plots()
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and an extra

    return Figure((WIDTH, height), dpi=_DOTS_PER_INCH, layout="constrained")


def png_of(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def name_nodes(axes: Axes, names: list[str], what: str) -> None:
    """An axis of nodes at 1, 2, …: named while there is room, else numbered."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - as above

    axes.set_xlim(0.5, len(names) + 0.5)
    if len(names) > NAMED:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        axes.set_xlabel(f"{what} (number; names are in the CSV)")
        return
    ticks = [short_name(name, _LONGEST_TICK) for name in names]
    axes.set_xticks(range(1, len(names) + 1), ticks, rotation=90, fontsize=8)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)  # a name may have dollar signs
    axes.set_xlabel(what)


def sample_count(samples: int) -> str:
    """For titles."""
    return f"{samples} sample{'s' if samples != 1 else ''}"
