"""What the charts of a page show, section by section, made of its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qir.report.axes import Axis, linear, logarithmic
from qir.report.charts import HistogramChart, LineChart, Sample, histogram_chart, line_chart
from qir.report.graph_view import GraphView, graph_view
from qir.report.numbers import Number, as_number, metric_kind, number_at
from qir.report.sources import REPORT, SENSITIVITY, Sources

COSINE = "cosine-similarity"
_FLOOR = 1e-9
"""What is nearer to 1 than this, or to 0, is drawn here on a logarithmic axis."""
_LABELS = {
    COSINE: "1 − cosine similarity",
    "sqnr": "SQNR in dB",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "mre": "mean relative error",
    "chebyshev": "largest error",
    "kl": "KL divergence in nats",
}


@dataclass(frozen=True)
class Bar:
    """A row of a ranking: the share (0 to 100) of the longest bar, and the scores."""

    name: str
    op: str
    length: float
    scores: tuple[Number | str, ...]
    extra: tuple[Number | str, ...]


@dataclass(frozen=True)
class Ranking:
    """Bars worst first; `headings` over the scores, the first of which makes the bars, and over the rest."""

    title: str
    note: str
    headings: tuple[str, ...]
    extra: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Range:
    """The histogram of one tensor with the range chosen for it, and the numbers of its entry by name."""

    tensor: str
    layers: str
    numbers: Mapping[str, Number | str]
    chart: HistogramChart


def error_of(score: float, metric: str) -> float:
    """A score as a length for a logarithmic axis: 0 is no error."""
    return max(1 - score if metric == COSINE else score, _FLOOR)


def _score_axis(scores: Sequence[float], metric: str) -> Axis:
    if metric == "sqnr" or metric not in _LABELS:
        return linear(scores, room=0.05)
    return logarithmic([error_of(score, metric) for score in scores])


def _length(score: float, metric: str) -> float:
    return score if metric == "sqnr" or metric not in _LABELS else error_of(score, metric)


def rankings(sources: Sources) -> list[Ranking]:
    """Each measurement of sensitivity there is."""
    found = [_of_command(sources)] if SENSITIVITY in sources.documents else []
    for kind in ("node", "weight", "activation"):
        if f"sensitivity_{kind}" in sources.documents:
            found.append(_of_debug(sources, f"sensitivity_{kind}", kind))
    return found


def _of_command(sources: Sources) -> Ranking:
    metric = str(sources.get(SENSITIVITY, "metric"))
    rows = sources.entries(SENSITIVITY, "layers")
    whose = "the layer's own output" if sources.get(SENSITIVITY, "mode") == "layer" else "the model's outputs"
    scores = [as_number(row.get("score")) for row in rows]
    bars = []
    for i, (row, length) in enumerate(zip(rows, _lengths(scores, metric), strict=True)):
        score = number_at(sources, SENSITIVITY, "layers", i, "score", kind=metric_kind(metric))
        share = number_at(sources, SENSITIVITY, "layers", i, "mac_share", kind="share")
        bars.append(Bar(str(row.get("layer")), str(row.get("op")), length, (score,), (share,)))
    note = f"Each layer quantized alone; {metric} of {whose}."
    return Ranking("Layers", note, (metric,), ("share of MACs",), tuple(bars))


def _of_debug(sources: Sources, name: str, kind: str) -> Ranking:
    metrics = [str(metric.get("name")) for metric in sources.entries(name, "metrics")] or [""]
    rows = sources.entries(name, "rows")
    scores = [as_number((row.get("scores") or {}).get(metrics[0])) for row in rows]
    bars = []
    for i, (row, length) in enumerate(zip(rows, _lengths(scores, metrics[0]), strict=True)):
        shown = tuple(
            number_at(sources, name, "rows", i, "scores", metric, kind=metric_kind(metric))
            for metric in metrics
        )
        extra: tuple[Number | str, ...] = ()
        if kind == "activation":
            extra = tuple(
                number_at(sources, name, "rows", i, key, kind="scale") for key in ("threshold", "bits")
            )
        bars.append(Bar(str(row.get("node")), str(row.get("op")), length, shown, extra))
    title = {"node": "Layers", "weight": "Weights alone", "activation": "Activations alone"}[kind]
    note = "Each one quantized alone; the model's outputs are compared."
    extra_headings = ("threshold", "bits") if kind == "activation" else ()
    return Ranking(title, note, tuple(metrics), extra_headings, tuple(bars))


def _lengths(scores: Sequence[float | None], metric: str) -> list[float]:
    """Bars in percent: on a logarithmic axis where the metric has many magnitudes."""
    known = [score for score in scores if score is not None]
    axis = _score_axis(known, metric)
    places = [None if s is None else axis.place(_length(s, metric)) for s in scores]
    return [0.0 if place is None else round(100 * place, 1) for place in places]


def similarity_chart(sources: Sources) -> LineChart | None:
    """Cumulative and isolated error of each layer in running order; None when neither was measured."""
    rows = sources.entries(REPORT, "layers")
    lines = []
    for key, label in (("cumulative", "everything quantized"), ("isolated", "this layer alone")):
        samples = list(_similarities(sources, rows, key))
        if any(sample.y is not None for sample in samples):
            lines.append((label, samples))
    if not lines:
        return None
    axis = logarithmic([sample.y for _, samples in lines for sample in samples if sample.y is not None])
    label = "Error of each layer's result, in running order"
    return line_chart(label, "layers in running order", _LABELS[COSINE], axis, lines)


def _similarities(sources: Sources, rows: Sequence[Any], key: str) -> Iterator[Sample]:
    for i, row in enumerate(rows):
        value = as_number((row.get(key) or {}).get("cosine"))
        number = number_at(sources, REPORT, "layers", i, key, "cosine", kind="cosine")
        yield Sample(i + 1, None if value is None else error_of(value, COSINE), str(row.get("name")), number)


def error_chart(sources: Sources) -> LineChart | None:
    """The curves of `qir debug error`."""
    metric = str(sources.get("error", "metric", "name"))
    nodes = sources.entries("error", "nodes")
    lines: list[tuple[str, list[Sample]]] = []
    for c, curve in enumerate(sources.entries("error", "curves")):
        samples = []
        for i, score in enumerate(curve.get("scores") or []):
            value = as_number(score)
            number = number_at(sources, "error", "curves", c, "scores", i, kind=metric_kind(metric))
            name = str(nodes[i].get("node")) if i < len(nodes) else ""
            samples.append(Sample(i + 1, None if value is None else _length(value, metric), name, number))
        lines.append((str(curve.get("label")), samples))
    scores = [as_number(s) for curve in sources.entries("error", "curves") for s in curve.get("scores") or []]
    if not any(samples for _, samples in lines):
        return None
    axis = _score_axis([score for score in scores if score is not None], metric)
    label = "Error along the graph by what is quantized"
    return line_chart(label, "nodes in running order", _LABELS.get(metric, metric), axis, lines)


def partial_chart(sources: Sources) -> LineChart | None:
    """The two curves of `qir debug partial`."""
    metric = str(sources.get("partial", "metric", "name"))
    rows = sources.entries("partial", "rows")
    if not rows:
        return None
    lines = []
    for key, label in (("alone", "only this node quantized"), ("without", "this and all before it in float")):
        samples = []
        for i, row in enumerate(rows):
            value = as_number(row.get(key))
            number = number_at(sources, "partial", "rows", i, key, kind=metric_kind(metric))
            samples.append(
                Sample(i + 1, None if value is None else _length(value, metric), str(row.get("node")), number)
            )
        lines.append((label, samples))
    scores = [as_number(row.get(key)) for row in rows for key in ("alone", "without")]
    axis = _score_axis([score for score in scores if score is not None], metric)
    label = "What is gained by leaving the worst nodes in float, one more at a time"
    return line_chart(label, "nodes, worst first", _LABELS.get(metric, metric), axis, lines)


def ranges(sources: Sources) -> list[Range]:
    """Histograms of quantized activations, those of the layers that suffer most first."""
    layers = {row.get("name"): row for row in sources.entries(REPORT, "layers")}

    def suffering(entry: dict[str, Any]) -> float:
        rows = [layers[name] for name in entry.get("layers") or [] if name in layers]
        found = [as_number((row.get("isolated") or {}).get("cosine")) for row in rows]
        return min((value for value in found if value is not None), default=2.0)

    entries = list(enumerate(sources.entries(REPORT, "histograms")))
    ordered = sorted(
        entries, key=lambda item: (suffering(item[1]), -float(item[1].get("outside_share") or 0))
    )
    return [
        Range(
            str(entry.get("tensor")),
            ", ".join(entry.get("layers") or []),
            _numbers(sources, REPORT, "histograms", i),
            _bars(entry),
        )
        for i, entry in ordered
    ]


def distributions(sources: Sources) -> list[tuple[str, str, list[Range]]]:
    """By node: its name, op, and the histograms of `qir debug distribution`."""
    found = []
    for n, node in enumerate(sources.entries("distribution", "nodes")):
        charts = [
            Range(
                str(h.get("series")),
                str(h.get("tensor")),
                _numbers(sources, "distribution", "nodes", n, "histograms", i),
                _bars(h),
            )
            for i, h in enumerate(node.get("histograms") or [])
        ]
        found.append((str(node.get("node")), str(node.get("op")), charts))
    return found


def _numbers(sources: Sources, *path: str | int) -> Mapping[str, Number | str]:
    found = {key: number_at(sources, *path, key) for key in ("least", "greatest", "low", "high")}
    shares = {key: number_at(sources, *path, key, kind="share") for key in ("outside_share", "zero_share")}
    return {**found, **shares}


def _bars(entry: dict[str, Any]) -> HistogramChart:
    counts = [int(count) for count in entry.get("counts") or []]
    low, high = as_number(entry.get("low")), as_number(entry.get("high"))
    return histogram_chart(float(entry.get("left") or 0), float(entry.get("step") or 1), counts, low, high)


def drawn_graph(sources: Sources) -> GraphView:
    """Drawings of the graph of the report."""
    rows = sources.entries(REPORT, "layers")
    precisions = {
        str(row.get("name")): (str(row.get("precision")), bool(row.get("is_quantized"))) for row in rows
    }
    graph = sources.get(REPORT, "graph")
    return graph_view(graph if isinstance(graph, dict) else {}, precisions, str(sources.get(REPORT, "model")))
