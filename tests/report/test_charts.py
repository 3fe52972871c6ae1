"""How numbers and axes are written on the page, and where points lie."""

from __future__ import annotations

from typing import get_args

import pytest

from qir.report.axes import logarithmic
from qir.report.charts import RIGHT, WIDTH
from qir.report.numbers import Kind, shown
from qir.report.sources import REPORT, Sources
from qir.report.views import similarity_chart


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0, "share", "0.0 %"),
        (0.0004, "share", "0.04 %"),
        (3e-7, "share", "3e−05 %"),
        (0.123, "share", "12.3 %"),
        (16384, "plain", "16384"),
        (16384.0, "plain", "16384"),
        (27.08615, "plain", "27.09"),
        (-1.5e-5, "plain", "−1.5e−05"),
    ],
)
def test_numbers_for_people(value: float, kind: Kind, text: str) -> None:
    assert kind in get_args(Kind)
    assert shown(value, kind) == text


def test_powers_of_ten_are_written_alike() -> None:
    assert [tick.label for tick in logarithmic([2e-6, 5e-4]).ticks()] == ["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³"]
    assert [tick.label for tick in logarithmic([0.02, 5]).ticks()] == ["0.01", "0.1", "1", "10"]


def test_layers_are_counted_from_one() -> None:
    rows = [{"name": f"n{i}", "cumulative": {"cosine": 1 - 10.0 ** -(i + 2)}} for i in range(5)]
    chart = similarity_chart(Sources({REPORT: {"layers": rows}}, {}, {}))
    assert chart is not None
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3", "4", "5"]
    (line,) = chart.lines
    assert [mark.title for mark in line.marks] == ["n0", "n1", "n2", "n3", "n4"]
    assert line.marks[-1].x == WIDTH - RIGHT
