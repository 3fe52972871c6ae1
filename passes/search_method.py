"""Searches for the methods that close quants best, for the whole model or for each layer.

    scope=model   every candidate closes the whole model; the one whose outputs are nearest to the float ones
    scope=layer   for each layer the candidate with the smallest loss of the model's outputs when this layer
                  alone is quantized: weights and inputs at once

Candidates are all combinations of the lists `methods` (of activations; `max` is min-max, or percentile below
1), `num_bin`, `max_num_bin` and `max_percentile` for those methods that have them, `weights`, `asymmetric`
(zero points where the target has them, or none) and `per_channel` (`equalize-inputs` first, or not; layers
share its factors, so for scope=layer it is chosen for the model, by the first candidate).

The pass takes the place of quantize-weights and calibrate, and treats what those in front of it left open.
One run over the data feeds all candidates (another one when `per_channel` changes the weights). Cost for
scope=model: samples forwards of the float model, and samples for each candidate that closes anything in
another way, all in one session whose scales are inputs. For scope=layer: for each of them and each layer that
it closes in another way, the part of the model behind that layer.

With scope=layer, `qtype` is what the `topk` layers that lose most become instead of INT8 (None: all), but
for those that `keep` names. One that cannot have it stays as it is, and the table of scores says why.
`similarity` below 1 ends scope=model at a candidate with that cosine similarity. The table of scores is
metadata, see `searching/scores.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.measurement import open_activation_quants
from qir.passes.searching.adoption import adopt_constants, adopt_layers, adopt_quants
from qir.passes.searching.candidates import Candidate, candidates, check_names, methods_with
from qir.passes.searching.raising import Qtype, raise_layer
from qir.passes.searching.scopes import ModelSearch, Trial, best, layer_trials
from qir.passes.searching.scores import note_layer, note_search
from qir.runtime.isolated import first_units
from qir.runtime.metrics import Metric, metric_named
from qir.runtime.units import Unit


@dataclass(frozen=True)
class SearchMethod(Pass):
    """Choose among calibration and weight methods by the model's outputs, for the model or each layer."""

    name: ClassVar[str] = "search-method"
    scope: Literal["model", "layer"] = "model"
    metric: str = "cosine-similarity"
    samples: int = 8
    similarity: float = 1.0
    methods: tuple[str, ...] = ("min-max", "percentile", "mse", "kl", "ifmr", "hfmg")
    weights: tuple[str, ...] = ("arq", "mse")
    num_bin: tuple[int, ...] = ()
    max_num_bin: tuple[int, ...] = ()
    max_percentile: tuple[float, ...] = ()
    asymmetric: tuple[bool, ...] = ()
    per_channel: tuple[bool, ...] = ()
    topk: int | None = None
    qtype: Qtype = "int8"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        metric_named(self.metric)
        check_names(self.methods, self.weights)
        for key, value, least in (("samples", self.samples, 1), ("topk", self.topk, 1)):
            if value is not None and value < least:
                raise ConfigError(f"{key} must be at least {least}, not {value}")
        if not 0 <= self.similarity <= 1:
            raise ConfigError(f"similarity must be in [0, 1], not {self.similarity}")
        if self.scope == "model" and (self.topk is not None or self.qtype != "int8" or self.keep):
            raise ConfigError("topk, qtype and keep belong to scope=layer")
        if self.scope == "layer" and self.similarity != 1:
            raise ConfigError("similarity belongs to scope=model")
        self.candidates()

    def candidates(self) -> tuple[Candidate, ...]:
        """Every combination; ConfigError for an option that its method refuses."""
        methods = methods_with(self.methods, self.num_bin, self.max_num_bin, self.max_percentile)
        return candidates(methods, self.weights, self.asymmetric, self.per_channel)

    def run(self, graph: Graph, context: Context) -> bool:
        """Close the open quants of weights and activations; PassError without data or rules."""
        for name in self.keep:
            graph.node(name)
        if not open_activation_quants(graph):
            return False
        if context.data is None:
            raise PassError(
                "search-method compares outputs on data: pass --data DATA (or Context.data), beside "
                "statistics too"
            )
        if context.rules is None:
            raise PassError("search-method needs the rules of a target: pass --target (or Context.rules)")
        units = first_units(graph, context.data, self.samples)
        search = ModelSearch(graph, context, units, metric_named(self.metric), self.similarity)
        if self.scope == "model":
            self._by_model(graph, search, len(units), context)
        else:
            self._by_layer(graph, search, units, context)
        return True

    def _by_model(self, graph: Graph, search: ModelSearch, samples: int, context: Context) -> None:
        asked = self.candidates()
        trials = search.run(asked)
        chosen = _best(trials, metric_named(self.metric))
        self._adopt_variant(graph, search, asked[chosen])
        closed = search.variant(asked[chosen]).closed(asked[chosen])
        assert isinstance(closed, Graph)
        adopt_quants(graph, closed)
        self._note(graph, trials, asked, chosen, samples)
        context.rewrites.applied(self.name, graph.name)

    def _by_layer(self, graph: Graph, search: ModelSearch, units: Sequence[Unit], context: Context) -> None:
        metric = metric_named(self.metric)
        asked = self.candidates()
        per_channel = dict.fromkeys(item.per_channel for item in asked)
        if len(per_channel) > 1:
            firsts = [next(c for c in asked if c.per_channel == each) for each in per_channel]
            kept = firsts[_best(search.run(firsts), metric)].per_channel
            asked = tuple(c for c in asked if c.per_channel == kept)
        variant = search.variant(asked[0])
        found = layer_trials(variant, asked, units, metric, context)
        if not found.copies:
            raise PassError(f"no candidate closes the quants: {next(iter(found.reasons.values()))}")
        self._adopt_variant(graph, search, asked[0])
        chosen = {layer: found.best(layer, metric) for layer in found.scores}
        losses = {layer: found.scores[layer][i] for layer, i in chosen.items() if layer not in self.keep}
        ranked = sorted(losses, key=losses.__getitem__, reverse=not metric.low_is_worse)
        raised = ranked[: self.topk] if self.qtype != "int8" else []
        adopt_layers(graph, found.copies, chosen)
        refused: dict[str, str] = {}
        for layer in raised:
            why = raise_layer(graph, graph.node(layer), self.qtype, asked[chosen[layer]], variant, context)
            if why is not None:
                refused[layer] = why
        trials = [Trial(item, reason=found.reasons.get(i, "")) for i, item in enumerate(asked)]
        self._note(graph, trials, asked, None, len(units), raised, refused)
        for layer, i in chosen.items():
            note_layer(graph.node(layer), i, found.scores[layer])
            context.rewrites.applied(self.name, layer)

    def _adopt_variant(self, graph: Graph, search: ModelSearch, candidate: Candidate) -> None:
        if candidate.per_channel:
            adopt_constants(graph, search.variant(candidate).graph)

    def _note(
        self,
        graph: Graph,
        trials: Sequence[Trial],
        asked: Sequence[Candidate],
        chosen: int | None,
        samples: int,
        raised: Sequence[str] = (),
        refused: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        table: dict[str, object] = {"scope": self.scope, "metric": self.metric, "samples": samples}
        table["candidates"] = [trial.fields() for trial in trials]
        table["untried"] = [item.fields() for item in asked[len(trials) :]]
        if chosen is not None:
            table["chosen"] = chosen
        if raised:
            table["raised"] = {"qtype": self.qtype, "layers": list(raised), "refused": dict(refused)}
        note_search(graph, table)


def _best(trials: Sequence[Trial], metric: Metric) -> int:
    found = best(trials, metric)
    if found is None:
        raise PassError(f"no candidate closes the quants: {trials[0].reason}")
    return found
