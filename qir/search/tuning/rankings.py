"""The rankings of the layers on each rung, measured when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qir.ir.quants import quantized_layers
from qir.search.known_ranking import known_ranking
from qir.search.ranking import Rank, Ranking
from qir.search.search import Search
from qir.search.tuning.ladder import BASE
from qir.search.tuning.mixtures import Mixtures


@dataclass(frozen=True)
class Rankings:
    """How sensitive layers are on a rung: those of the model with all of them on it, one by one.

    `known` are those that were asked for; what the journal knows is not measured again.
    """

    search: Search
    rank: Rank
    mixtures: Mixtures
    known: dict[str, Ranking] = field(default_factory=dict)

    def information(self, rung: str) -> Mapping[str, float]:
        """What strategies are given of the layers that may be raised, for one rung."""
        if rung not in self.known:
            self.known[rung] = self._ranking(rung)
        return self.known[rung].information

    def _ranking(self, rung: str) -> Ranking:
        ladder = self.mixtures.ladder
        graph = self.mixtures.graph(ladder.raised(ladder.layers, rung))
        names = tuple(node.name for node in quantized_layers(graph))
        what = "" if rung == BASE else rung
        whole = known_ranking(self.search, self.rank, self.mixtures.inputs, graph, names, what)
        return Ranking({name: whole.scores[name] for name in ladder.layers}, whole.low_is_worse)
