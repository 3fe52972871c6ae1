"""Ranks layers by how far quantizing them moves an output: what strategies start from.

Mode `layer` compares each layer's own output, all in one run, as AMCT does. Mode `model` compares the outputs
of the model with that layer alone quantized: a sample costs several times as much, but few do, and the order
is closer to what the accuracy says, so that fewer layers go back to float.
"""

from __future__ import annotations

import logging
import math
from typing import Literal, TypeAlias, get_args

from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.runtime.isolated import measure_isolated
from qir.runtime.metrics import CosineSimilarity, Metric, metric_named
from qir.runtime.progress import Progress
from qir.runtime.sensitivity import Sensitivity, measure_sensitivity
from qir.runtime.units import CalibrationData
from qir.search.errors import ContractError
from qir.search.evaluators.source import function_digest, object_digest
from qir.search.ranking import Rank, Ranking

SensitivitySource: TypeAlias = str | Metric | Rank
"""A metric of two outputs by name or as an object, or a function that ranks."""

Mode: TypeAlias = Literal["layer", "model"]

SAMPLES = 8
"""Samples on which layers are measured at most: enough for an order, and cheap."""
MODEL_SAMPLES = 1
"""Samples of mode `model`, which cost a run behind every layer each: one tells most of the order, unless the
model is so sure of it that nothing moves the output."""
_SHARE = 4
"""Of few calibration samples a fourth, two at least: ranking is not to cost more than calibration."""
_EQUAL = 1e-15
"""Scores that lie so near to that of equal outputs, relatively, are what rounding leaves of it."""
_log = logging.getLogger(__name__)


def ranking_by(source: SensitivitySource, mode: str = "layer") -> Rank:
    """What ranks the layers; ConfigError with the nearest names for an unknown metric or mode."""
    if mode not in get_args(Mode):
        known = get_args(Mode)
        raise ConfigError(
            f"there is no mode '{mode}' of sensitivity; known: {', '.join(known)}{did_you_mean(mode, known)}"
        )
    if not isinstance(source, (str, Metric)):
        if not callable(source) or isinstance(source, type):
            raise ContractError(
                "sensitivity is not inherited from base class SensitivityBase (qir.runtime.metrics.Metric), "
                f"nor a function that ranks: {source!r:.100}"
            )
        return source
    metric = metric_named(source) if isinstance(source, str) else source
    measure = _by_layers if mode == "layer" else _by_model

    def rank(graph: Graph, data: CalibrationData, progress: Progress) -> Ranking:
        found = measure(graph, data, metric, progress)
        scores = dict(found.scores)
        if isinstance(metric, CosineSimilarity):  # AMCT's form, from 0 to 1
            scores = {layer: 0.5 + 0.5 * score for layer, score in scores.items()}
        return Ranking(scores, metric.low_is_worse)

    return rank


def _by_layers(graph: Graph, data: CalibrationData, metric: Metric, progress: Progress) -> Sensitivity:
    count = SAMPLES if data.total is None else min(SAMPLES, max(2, data.total // _SHARE))
    return measure_sensitivity(graph, data, metric, samples=count, progress=progress)


def _by_model(graph: Graph, data: CalibrationData, metric: Metric, progress: Progress) -> Sensitivity:
    """On more samples where the first leaves half of the layers without effect; by layers if all do."""
    found = measure_isolated(graph, data, metric, samples=MODEL_SAMPLES, progress=progress)
    if 2 * _effective(found) < len(found.scores):
        found = measure_isolated(graph, data, metric, samples=SAMPLES, progress=progress)
    if _effective(found) or not found.scores:
        return found
    _log.warning(
        "no layer moves the outputs of the model on %d calibration samples when it alone is quantized: "
        "layers are ranked by how far their own outputs move",
        found.samples,
    )
    return _by_layers(graph, data, metric, progress)


def _effective(found: Sensitivity) -> int:
    """How many layers do something to what was compared."""
    equal = found.metric.worst(())
    return sum(not math.isclose(score, equal, rel_tol=_EQUAL) for score in found.scores.values())


def sensitivity_digest(source: SensitivitySource, mode: str) -> str:
    """What a ranking depends on beside model and data."""
    if isinstance(source, (str, Metric)):
        name = source if isinstance(source, str) else object_digest(source)
        layer, model = f"{SAMPLES} in {_SHARE}", f"{MODEL_SAMPLES}, {SAMPLES} where that says nothing"
        return f"{name} by {mode} of {layer if mode == 'layer' else model}"
    return function_digest(source)
