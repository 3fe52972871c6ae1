"""How sensitive each quantized layer is: the order in which strategies think of the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qir.ir.errors import did_you_mean
from qir.ir.graph import Graph
from qir.runtime.progress import Progress
from qir.runtime.units import CalibrationData
from qir.search.errors import SearchError


@dataclass(frozen=True)
class Ranking:
    """Layer -> score; `low_is_worse` says that low scores stand for sensitive layers."""

    scores: Mapping[str, float]
    low_is_worse: bool = True

    @property
    def information(self) -> dict[str, float]:
        """What strategies are given: low values are sensitive, whatever the metric."""
        sign = 1 if self.low_is_worse else -1
        return {layer: sign * score for layer, score in self.scores.items()}

    @property
    def worst_first(self) -> list[str]:
        """The layers, the most sensitive ones first; equal ones in their order."""
        information = self.information
        return sorted(information, key=lambda layer: information[layer])


Rank = Callable[[Graph, CalibrationData, Progress], Ranking]
"""Ranks the quantized layers of a closed graph."""


def check_ranking(ranking: Ranking, layers: tuple[str, ...]) -> Ranking:
    """The ranking in the order of `layers`; SearchError unless it has exactly these."""
    if not isinstance(ranking, Ranking):
        raise SearchError(f"a function that ranks must return a Ranking, not {ranking!r:.100}")
    for name in ranking.scores:
        if name not in layers:
            raise SearchError(
                f"the ranking has a layer '{name}' that is not quantized{did_you_mean(name, layers)}"
            )
    missing = [name for name in layers if name not in ranking.scores]
    if missing:
        raise SearchError(
            f"the ranking says nothing of layer '{missing[0]}'; every quantized layer needs a score"
        )
    return Ranking({name: ranking.scores[name] for name in layers}, ranking.low_is_worse)
