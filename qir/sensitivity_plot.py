"""The bar plot of a sensitivity report: scores of layers, worst on top, beside their share of the work."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qir.ir.errors import ConfigError
from qir.sensitivity_report import SensitivityReport, score_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_NAME = 52
_ROOM = 0.12
"""Part of the axis that is left for the numbers behind the bars."""
_WIDTH, _BAR_HEIGHT, _FRAME_HEIGHT = 11.0, 0.2, 1.6
"""Inches: of the picture, of one bar, and of title, legend and axis together."""
_DOTS_PER_INCH = 100
_TALLEST = 600
"""Inches; an Agg picture has at most 2^16 dots each way."""


@dataclass(frozen=True)
class Scale:
    """How a metric is drawn: longer bars are worse, but for those in dB. Up to `noise` outputs are equal."""

    label: str
    length: Callable[[float], float] = float
    logarithmic: bool = True
    noise: float = 0.0


SCALES = {
    "cosine-similarity": Scale("1 − cosine similarity (no unit)", lambda score: 1 - score, noise=1e-12),
    "sqnr": Scale("signal to quantization noise (dB), less is worse", logarithmic=False),
    "mse": Scale("mean squared error (unit of the output, squared)"),
    "mae": Scale("mean absolute error (unit of the output)"),
    "mre": Scale("mean error / mean magnitude (no unit)"),
    "chebyshev": Scale("largest error (unit of the output)"),
    "kl": Scale("Kullback-Leibler divergence (nats)"),
}


def check_plots() -> None:
    """ConfigError unless matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("a plot needs matplotlib: pip install 'qir[plots]', or do without (--no-plot)")


def plot_sensitivity(report: SensitivityReport, title: str | None = None, rows: str = "layer") -> bytes:
    """A PNG with a bar per layer. ConfigError when matplotlib is missing.

    `title` stands in place of the one that fits the report's mode, `rows` names what the rows are.
    """
    check_plots()
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and an extra

    height = min(_FRAME_HEIGHT + _BAR_HEIGHT * max(len(report.layers), 3), _TALLEST)
    figure = Figure((_WIDTH, height), dpi=_DOTS_PER_INCH, layout="constrained")
    _draw(figure, report, title or _title(report), rows)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _title(report: SensitivityReport) -> str:
    where = "its own output" if report.mode == "layer" else "the model's outputs"
    samples = f"{report.samples} sample{'s' if report.samples != 1 else ''}"
    return f"What quantizing one layer alone does to {where}, mean of {samples}"


def _draw(figure: Figure, report: SensitivityReport, title: str, rows: str) -> None:
    figure.suptitle(title, fontsize=11, parse_math=False)
    work = any(layer.mac_share is not None for layer in report.layers)
    axes = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1)) if work else [figure.subplots()]
    _draw_scores(axes[0], report)
    axes[0].set_ylabel(rows)
    if work:
        _draw_work(axes[1], report)
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, fontsize=8, frameon=False)


def _draw_scores(axes: Axes, report: SensitivityReport) -> None:
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter  # noqa: PLC0415 - as above

    scale = SCALES.get(report.metric.name, Scale(report.metric.name, logarithmic=False))
    lengths = [scale.length(layer.score) for layer in report.layers]
    finite = [length for length in lengths if math.isfinite(length)]
    positive = [length for length in finite if length > scale.noise]
    logarithmic = scale.logarithmic and bool(positive)
    if logarithmic:
        low, high = min(positive) / 2, max(positive)
        axes.set_xscale("log")
        axes.set_xlim(low, high * (high / low) ** _ROOM)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
        axes.xaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        low, high = min([0.0, *finite]), max([0.0, *finite])
        axes.set_xlim(low, high + _ROOM * (high - low) or 1.0)
    ops = list(dict.fromkeys(layer.op for layer in report.layers))
    for place, op in enumerate(ops):
        rows = [row for row, layer in enumerate(report.layers) if layer.op == op]
        shown = [min(max(lengths[row], low), high) for row in rows]
        axes.barh(rows, shown, color=f"C{place % 10}", label=op, height=0.7)
    for row, (layer, length) in enumerate(zip(report.layers, lengths, strict=True)):
        end = min(max(length, low), high)
        axes.text(end, row, f" {score_text(report.metric, layer.score)}", va="center", ha="left", fontsize=7)
    axes.set_yticks(
        range(len(report.layers)), [short_name(layer.layer) for layer in report.layers], fontsize=8
    )
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name may have dollar signs
    axes.set_ylim(max(len(report.layers), 3) - 0.5, -0.5)
    axes.set_xlabel(scale.label)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_work(axes: Axes, report: SensitivityReport) -> None:
    shares = [100 * (layer.mac_share or 0) for layer in report.layers]
    axes.barh(range(len(shares)), shares, color="0.6", height=0.7)
    axes.tick_params(left=False, labelleft=False)
    axes.set_xlabel("share of MACs (%)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def short_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """A long name without its middle: layers differ at both ends."""
    if len(name) <= longest:
        return name
    kept = longest - 1
    return f"{name[: kept // 2]}…{name[len(name) - (kept - kept // 2) :]}"
