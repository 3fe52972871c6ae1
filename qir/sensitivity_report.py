"""Which layers suffer from quantization: a model and data in, layers ranked by a metric out."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from qir.closed_model import closed_model
from qir.config.open import ConfigSource
from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.models import ModelSource
from qir.report.layers import report_layers
from qir.report.shapes import shapes_of
from qir.runtime.data import CalibrationData, DataSource
from qir.runtime.isolated import measure_isolated
from qir.runtime.metrics import Metric, metric_named
from qir.runtime.progress import Progress
from qir.runtime.sensitivity import measure_sensitivity
from qir.runtime.session import Session
from qir.runtime.statistics_file import Statistics

Mode = Literal["layer", "model"]
SAMPLES: dict[str, int] = {"layer": 16, "model": 8}
"""Samples that each mode takes by default: enough for an order; those of `model` cost a run per layer."""


@dataclass(frozen=True)
class LayerSensitivity:
    """One quantized layer: its score, its multiply-accumulates per sample (None: unknown), and their share.

    `mac_share`, from 0 to 1, is of those of the whole model; None when one of them is unknown.
    """

    layer: str
    op: str
    score: float
    macs: int | None
    mac_share: float | None


@dataclass(frozen=True)
class SensitivityReport:
    """The quantized layers, the most sensitive first: means of `metric` over `samples` samples."""

    metric: Metric
    mode: Mode
    samples: int
    layers: tuple[LayerSensitivity, ...]

    @property
    def scores(self) -> dict[str, float]:
        """Layer -> score, the most sensitive first."""
        return {layer.layer: layer.score for layer in self.layers}

    def to_csv(self) -> str:
        """A line per layer: rank, layer, op, score, macs, mac_share; what is unknown is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("rank", "layer", "op", "score", "macs", "mac_share"))
        for rank, item in enumerate(self.layers, 1):
            writer.writerow((rank, item.layer, item.op, item.score, item.macs, item.mac_share))
        return text.getvalue()

    def to_json(self) -> str:
        """The report as JSON; scores that are infinite are the strings "inf" and "-inf"."""
        layers = [
            {
                "rank": rank,
                "layer": item.layer,
                "op": item.op,
                "score": item.score if math.isfinite(item.score) else str(item.score),
                "macs": item.macs,
                "mac_share": item.mac_share,
            }
            for rank, item in enumerate(self.layers, 1)
        ]
        worse = "low" if self.metric.low_is_worse else "high"
        head = {"metric": self.metric.name, "worse": worse, "mode": self.mode, "samples": self.samples}
        return json.dumps({**head, "layers": layers}, indent=2, ensure_ascii=False) + "\n"


def score_text(metric: Metric, score: float) -> str:
    """A score for people: cosines are near 1, and what tells them apart comes late."""
    return f"{score:.6f}" if metric.name == "cosine-similarity" else f"{score:.4g}"


def sensitivity(
    model: ModelSource | Graph,
    data: DataSource,
    *,
    metric: str | Metric = "cosine-similarity",
    samples: int | None = None,
    mode: Mode = "layer",
    statistics: Statistics | str | os.PathLike[str] | None = None,
    target: str = "ascend",
    pipeline: str = "default",
    method: str = "ifmr",
    skip: str | Sequence[str] = (),
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> SensitivityReport:
    """Rank the layers of a model by how far quantizing each of them alone moves an output.

    `model` is a float model, which is quantized first as `quantize` does with the arguments from `statistics`
    to `config`; or a graph that is quantized already (a `.qir` file with closed quants), which takes none of
    these. Mode "layer" compares the output of each layer with that of the same layer in float on the same
    input, all layers in one run; "model" compares the outputs of the model, at the cost of a run per layer,
    and scores by the worst of them. `metric` is a name or an object, and the score of a layer its mean over
    the first `samples` (by default 16 in mode "layer", 8 in mode "model").

    Raises a QirError that says what to do.
    """
    chosen = metric_named(metric) if isinstance(metric, str) else metric
    count = _count(samples, mode)
    opened = closed_model(
        model, data, statistics=statistics, target=target, pipeline=pipeline, method=method, skip=skip,
        config=config, progress=progress,
    )  # fmt: skip
    measure = measure_isolated if mode == "model" else measure_sensitivity
    found = measure(opened.graph, opened.data, chosen, samples=count, progress=progress)
    layers = _layers(opened.graph, opened.data, found.ranking())
    return SensitivityReport(chosen, mode, found.samples, layers)


def _count(samples: int | None, mode: str) -> int:
    known = get_args(Mode)
    if mode not in known:
        raise ConfigError(f"there is no mode '{mode}'{did_you_mean(mode, known)}; known: {', '.join(known)}")
    if samples is not None and samples < 1:
        raise ConfigError(f"samples must be at least 1, not {samples}")
    return SAMPLES[mode] if samples is None else samples


def _layers(
    graph: Graph, data: CalibrationData, ranking: Sequence[tuple[str, float]]
) -> tuple[LayerSensitivity, ...]:
    """The layers in the order of the ranking, with what they cost on the first sample."""
    session = functools.cache(lambda: Session(graph, threads=1))  # most data need no run
    first = next(data.units(lambda feeds: session().run(feeds, session().outputs)))
    counts = {layer.name: layer.macs for layer in report_layers(graph, shapes_of(graph, first.feeds))}
    known = [count for count in counts.values() if count is not None]
    total = sum(known) if len(known) == len(counts) else 0
    found = []
    for name, score in ranking:
        own = counts.get(name, 0)
        share = own / total if own is not None and total else None
        found.append(LayerSensitivity(name, graph.node(name).op, score, own, share))
    return tuple(found)
