"""Ranks layers by how far quantization moves their outputs: what strategies start from."""

from __future__ import annotations

from typing import TypeAlias

from qir.ir.graph import Graph
from qir.runtime.metrics import CosineSimilarity, Metric, metric_named
from qir.runtime.progress import Progress
from qir.runtime.sensitivity import measure_sensitivity
from qir.runtime.units import CalibrationData
from qir.search.evaluators.source import object_digest
from qir.search.ranking import Rank, Ranking

SensitivitySource: TypeAlias = str | Metric | Rank
"""A metric of two outputs by name or as an object, or a function that ranks."""

SAMPLES = 16
"""Samples on which sensitivity is measured: enough for an order, and cheap."""


def ranking_by(source: SensitivitySource) -> Rank:
    """What ranks the layers; ConfigError with the nearest names for an unknown metric."""
    if not isinstance(source, (str, Metric)):
        return source
    metric = metric_named(source) if isinstance(source, str) else source

    def rank(graph: Graph, data: CalibrationData, progress: Progress) -> Ranking:
        found = measure_sensitivity(graph, data, metric, samples=SAMPLES, progress=progress)
        scores = dict(found.scores)
        if isinstance(metric, CosineSimilarity):  # AMCT's form, from 0 to 1
            scores = {layer: 0.5 + 0.5 * score for layer, score in scores.items()}
        return Ranking(scores, metric.low_is_worse)

    return rank


def sensitivity_digest(source: SensitivitySource) -> str:
    """What a ranking depends on beside model and data."""
    return source if isinstance(source, str) else object_digest(source)
