"""The two scopes of a search: one candidate for the model, or one for each layer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from qir.ir.graph import Graph
from qir.ir.quants import OperandPrecision, operand_precision, value_precision
from qir.passes.context import Context
from qir.passes.float_graph import float_graph
from qir.passes.searching.candidates import Candidate
from qir.passes.searching.variant import Variant, equalized
from qir.runtime.group_effects import Group, group_effects
from qir.runtime.metrics import CosineSimilarity, Metric
from qir.runtime.output_scores import OutputScores
from qir.runtime.scale_inputs import ScaleInputs
from qir.runtime.switches import Choice, switchables
from qir.runtime.units import Unit

_Precisions = tuple[OperandPrecision | None, ...]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """What came of a candidate: the score of the model's outputs, or the reason why it was not tried."""

    candidate: Candidate
    score: float | None = None
    reason: str = ""

    def fields(self) -> dict[str, object]:
        """An entry of the table of scores."""
        found: dict[str, object] = dict(self.candidate.fields())
        if self.score is not None:
            found["score"] = self.score
        return found | ({"reason": self.reason} if self.reason else {})


class ModelSearch:
    """Judges candidates by the model's outputs with everything quantized."""

    def __init__(
        self, graph: Graph, context: Context, units: Sequence[Unit], metric: Metric, similarity: float
    ) -> None:
        """`similarity` is the cosine similarity at which no further candidate is tried."""
        self._graph, self._context, self._metric = graph, context, metric
        self._similarity = similarity
        self._judge = OutputScores(float_graph(graph), units, (metric, CosineSimilarity()))
        self.variants = {False: Variant(graph, context)}
        self._session: ScaleInputs | None = None
        self._place: tuple[bool, str] | None = None
        self._known: dict[tuple[bool, _Precisions], tuple[float, float]] = {}

    def run(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """The trials, in order; those that are not needed any more are left out."""
        trials: list[Trial] = []
        with self._context.progress.task("search-method", len(candidates)) as task:
            for candidate in candidates:
                closed = self.variant(candidate).closed(candidate)
                if isinstance(closed, str):
                    trials.append(Trial(candidate, reason=closed))
                else:
                    score, cosine = self._scores(candidate, closed)
                    trials.append(Trial(candidate, score))
                    _log.info("%s: %s %g", candidate, self._metric.name, score)
                    if self._similarity < 1 and cosine >= self._similarity:
                        break
                task.advance()
        return trials

    def _scores(self, candidate: Candidate, closed: Graph) -> tuple[float, float]:
        """The metric and the cosine similarity; of a graph that is closed alike they are known."""
        place = candidate.per_channel, candidate.weights
        if place != self._place:
            self._session, self._place = ScaleInputs(closed), place
        assert self._session is not None
        key = candidate.per_channel, tuple(value_precision(v) for node in closed.nodes for v in node.outputs)
        if key not in self._known:
            score, cosine = self._session.scores(closed, self._judge)
            self._known[key] = score, cosine
        return self._known[key]

    def variant(self, candidate: Candidate) -> Variant:
        """The graph that a candidate closes."""
        if candidate.per_channel not in self.variants:
            self.variants[True] = Variant(equalized(self._graph, self._context), self._context)
        return self.variants[candidate.per_channel]


def best(trials: Sequence[Trial], metric: Metric) -> int | None:
    """The number of the best trial, the first of equals; None when none could be tried."""
    found: int | None = None
    for i, trial in enumerate(trials):
        top = None if found is None else trials[found].score
        if trial.score is not None and (top is None or metric.is_better(trial.score, top)):
            found = i
    return found


@dataclass(frozen=True)
class LayerTrials:
    """Candidates by their numbers: the copies that they closed, the scores of each layer, and refusals.

    The score of a layer is that of the model's outputs with this layer alone quantized.
    """

    copies: dict[int, Graph] = field(default_factory=dict)
    scores: dict[str, dict[int, float]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def best(self, layer: str, metric: Metric) -> int:
        """The best candidate of a layer, the first of equals."""
        found = next(iter(self.scores[layer]))
        for i, score in self.scores[layer].items():
            if metric.is_better(score, self.scores[layer][found]):
                found = i
        return found


def layer_trials(
    variant: Variant,
    candidates: Sequence[Candidate],
    units: Sequence[Unit],
    metric: Metric,
    context: Context,
) -> LayerTrials:
    """Judge candidates layer by layer; a layer that two of them quantize alike is judged once."""
    found = LayerTrials()
    known: dict[tuple[str, _Precisions], float] = {}
    for i, candidate in enumerate(candidates):
        closed = variant.closed(candidate)
        if isinstance(closed, str):
            found.reasons[i] = closed
            continue
        found.copies[i] = closed
        groups = _layers(closed)
        keys = {group.name: (group.name, _quants(closed, group.choice)) for group in groups}
        new = [group for group in groups if keys[group.name] not in known]
        effects = group_effects(closed, new, units, [metric], context.progress) if new else []
        known.update((keys[group.name], effect[0]) for group, effect in zip(new, effects, strict=True))
        for name, key in keys.items():
            found.scores.setdefault(name, {})[i] = known[key]
    return found


def _layers(closed: Graph) -> list[Group]:
    """Each node with quants as a group of its own; biases are left in float."""
    return [
        Group(name, item.op, item.readings("weight") | item.readings("activation"))
        for name, item in switchables(closed).items()
        if item.weights or item.activations
    ]


def _quants(closed: Graph, choice: Choice) -> _Precisions:
    return tuple(operand_precision(closed.node(node), index) for node, index in sorted(choice))
