"""The search for the layers that stay in float: what was tried in which order, and what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from qir.report.axes import linear
from qir.report.charts import LineChart, Sample, line_chart
from qir.report.numbers import NONE, Number, as_number, length_at, number_at
from qir.report.sources import JOURNAL, REPORT, Sources

_SOME = "some layers back"


@dataclass(frozen=True)
class Tried:
    """A model that was evaluated: `back` are what layers became instead of INT8, and how many of them.

    `satisfied` is None for a line of the journal, which does not say.
    """

    what: str
    back: tuple[tuple[str, Number | str], ...]
    metric: Number | str
    loss: Number | str
    satisfied: bool | None
    is_best: bool


@dataclass(frozen=True)
class Trajectory:
    """All of them, and the metric as a chart (None where it is no number)."""

    tried: tuple[Tried, ...]
    chart: LineChart | None
    ended: bool


def trajectory(sources: Sources) -> Trajectory | None:
    """From the report, or while a search has not come to its end from its journal; None without either."""
    steps = sources.entries(REPORT, "search", "steps")
    if steps:
        tried = tuple(_steps(sources, steps))
        return Trajectory(tried, _chart(tried), True)
    if REPORT in sources.documents or JOURNAL not in sources.documents:
        return None
    lines = tuple(_lines(sources))
    return Trajectory(lines, _chart(lines), False) if lines else None


def _steps(sources: Sources, steps: list[Any]) -> Iterator[Tried]:
    best = sources.get(REPORT, "search", "best")
    some = "a mixture" if sources.entries(REPORT, "search", "phases") else _SOME
    for i, step in enumerate(steps):
        path = (REPORT, "search", "steps", i)
        back = _back(sources, step.get("lowered"), (*path, "lowered"))
        metric = number_at(sources, *path, "metric", kind="scale")
        loss = number_at(sources, *path, "loss", kind="scale")
        yield Tried(
            _what(step.get("lowered"), some), back, metric, loss, bool(step.get("satisfied")),
            best is not None and step.get("number") == best,
        )  # fmt: skip


def _lines(sources: Sources) -> Iterator[Tried]:
    """The evaluations of a journal; `value` is there where the metric is plain JSON, otherwise `text`."""
    for i, line in enumerate(sources.entries(JOURNAL)):
        if line.get("kind") != "metric":
            continue
        key = "value" if "value" in (line.get("metric") or {}) else "text"
        metric = number_at(sources, JOURNAL, i, "metric", key, kind="scale")
        back = _back(sources, line.get("lowered"), (JOURNAL, i, "lowered"))
        yield Tried(_what(line.get("lowered"), _SOME), back, metric, NONE, None, False)


def _what(lowered: object, some: str) -> str:
    """What was evaluated; `some` is said where part of the layers became something else."""
    if not isinstance(lowered, Mapping):
        return "original model"
    return some if any(lowered.values()) else "all layers quantized"


def _back(
    sources: Sources, lowered: object, path: tuple[str | int, ...]
) -> tuple[tuple[str, Number | str], ...]:
    rungs = lowered if isinstance(lowered, Mapping) else {}
    return tuple((str(rung), length_at(sources, *path, rung)) for rung, names in rungs.items() if names)


def _chart(tried: tuple[Tried, ...]) -> LineChart | None:
    samples = [
        Sample(i, item.metric.value, item.what, item.metric, item.satisfied is not False)
        for i, item in enumerate(tried)
        if isinstance(item.metric, Number) and as_number(item.metric.value) is not None
    ]
    if len(samples) < 2:
        return None
    axis = linear([sample.y for sample in samples if sample.y is not None], room=0.05)
    return line_chart(
        "The metric of each model that was evaluated", "evaluations", "metric", axis, [("metric", samples)]
    )
