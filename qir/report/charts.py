"""Geometry of the charts on the page, in the units of their SVG; the templates draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from qir.report.axes import Axis, Tick, linear
from qir.report.numbers import Number

WIDTH, HEIGHT = 720.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 78.0, 20.0, 10.0, 40.0
_MOST_MARKS = 400
"""Points of one line that are marked, each with a title; longer lines are drawn only."""


@dataclass(frozen=True)
class Sample:
    """One point of a line before it is placed: `y` None breaks the line."""

    x: float
    y: float | None
    title: str = ""
    number: Number | str = ""
    passed: bool = True


@dataclass(frozen=True)
class Mark:
    """A point in SVG units, with a title; `passed` points are discs, others crosses."""

    x: float
    y: float
    title: str
    number: Number | str
    passed: bool


@dataclass(frozen=True)
class Line:
    """A line of a chart: `style` tells it from others by colour and dashes."""

    label: str
    style: int
    path: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class LineChart:
    """Lines over two axes. `label` says in words what is to be seen."""

    label: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def line_chart(
    label: str,
    x_label: str,
    y_label: str,
    y_axis: Axis,
    lines: Sequence[tuple[str, Sequence[Sample]]],
) -> LineChart:
    """A chart of lines with names; x are places, whole numbers."""
    x_axis = linear([sample.x for _, samples in lines for sample in samples])
    placed = tuple(_line(name, style, samples, x_axis, y_axis) for style, (name, samples) in enumerate(lines))
    x_ticks = tuple(tick for tick in x_axis.ticks() if "." not in tick.label)  # places are whole
    return LineChart(label, x_label, y_label, x_ticks, tuple(y_axis.ticks()), placed)


def _line(label: str, style: int, samples: Sequence[Sample], x_axis: Axis, y_axis: Axis) -> Line:
    path: list[str] = []
    marks: list[Mark] = []
    pen = "M"
    for sample in samples:
        if sample.y is None or math.isnan(sample.y):
            pen = "M"
            continue
        x, y = across(x_axis.place(sample.x)), up(y_axis.place(sample.y))
        path.append(f"{pen}{x:.1f} {y:.1f}")
        marks.append(Mark(round(x, 1), round(y, 1), sample.title, sample.number, sample.passed))
        pen = "L"
    return Line(label, style, "".join(path), tuple(marks) if len(marks) <= _MOST_MARKS else ())


def across(place: float) -> float:
    """The x of a place from 0 to 1."""
    return LEFT + place * (WIDTH - LEFT - RIGHT)


def up(place: float) -> float:
    """The y of a place from 0 (bottom) to 1."""
    return HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)


@dataclass(frozen=True)
class HistogramChart:
    """Bars as one path, 300 x 80, and the chosen range: where it begins and how wide it is (None: none)."""

    path: str
    range_x: float | None
    range_width: float
    zero_x: float | None


HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 300.0, 80.0


def histogram_chart(
    left: float, step: float, counts: Sequence[int], low: float | None, high: float | None
) -> HistogramChart:
    """Bars whose heights are the logarithms of their counts, over the data and the range [low, high]."""
    ends = [left, left + step * max(len(counts), 1)]
    axis = linear([*ends, *(end for end in (low, high) if end is not None)])
    tallest = math.log1p(max(counts, default=0)) or 1.0
    path = []
    for i, count in enumerate(counts):
        if count:
            x0, x1 = (HISTOGRAM_WIDTH * axis.place(left + (i + k) * step) for k in (0, 1))
            y = HISTOGRAM_HEIGHT * (1 - math.log1p(count) / tallest)
            path.append(f"M{x0:.1f} {HISTOGRAM_HEIGHT:.0f}V{y:.1f}H{x1:.1f}V{HISTOGRAM_HEIGHT:.0f}")
    zero = HISTOGRAM_WIDTH * axis.place(0) if axis.low <= 0 <= axis.high else None
    if low is None or high is None:
        return HistogramChart("".join(path), None, 0.0, zero)
    start, end = (HISTOGRAM_WIDTH * axis.place(value) for value in (low, high))
    return HistogramChart("".join(path), round(start, 1), round(end - start, 1), zero)


@dataclass(frozen=True)
class BoxChart:
    """Boxes per channel: whiskers, boxes and medians, each as one path, over a y axis."""

    label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    whiskers: str
    boxes: str
    medians: str


def box_chart(label: str, y_label: str, five: Sequence[Sequence[float]]) -> BoxChart:
    """A box from the lower to the upper quartile of each channel, whiskers from the least to the greatest.

    `five` holds least, lower, median, upper and greatest, each by channel.
    """
    channels = min(map(len, five))
    y_axis = linear([value for row in (five[0], five[4]) for value in row], room=0.03)
    x_axis = Axis(-0.5, max(channels - 0.5, 0.5))
    half = max((across(x_axis.place(1)) - across(x_axis.place(0))) * 0.35, 0.3) if channels > 1 else 20.0
    whiskers, boxes, medians = [], [], []
    for channel in range(channels):
        numbers = [row[channel] for row in five]
        if not all(map(math.isfinite, numbers)):
            continue
        x = across(x_axis.place(channel))
        least, lower, median, upper, greatest = (up(y_axis.place(number)) for number in numbers)
        whiskers.append(f"M{x:.1f} {least:.1f}V{greatest:.1f}")
        boxes.append(f"M{x - half:.1f} {lower:.1f}V{upper:.1f}H{x + half:.1f}V{lower:.1f}Z")
        medians.append(f"M{x - half:.1f} {median:.1f}H{x + half:.1f}")
    x_ticks = tuple(tick for tick in x_axis.ticks() if "." not in tick.label)
    return BoxChart(
        label, y_label, x_ticks, tuple(y_axis.ticks()), "".join(whiskers), "".join(boxes), "".join(medians)
    )
