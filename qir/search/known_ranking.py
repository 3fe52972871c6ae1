"""The ranking of a search: from its journal where that knows it, else measured and noted there."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.search.fingerprints import Part
from qir.search.inputs import SearchInputs
from qir.search.ranking import Rank, Ranking, check_ranking
from qir.search.search import Search

RANKING_KEY: tuple[Part, ...] = ("weights", "graph", "config", "data", "sensitivity")


def known_ranking(
    search: Search,
    rank: Rank,
    inputs: SearchInputs,
    closed: Graph,
    layers: tuple[str, ...],
    what: str = "",
) -> Ranking:
    """The ranking of the quantized `layers` of a closed graph; SearchError when `rank` gives another one.

    `what` tells rankings of several graphs of one model apart.
    """
    journal = search.evaluations.journal
    key = " ".join(filter(None, (search.evaluations.inputs.key(RANKING_KEY), what)))
    line = journal.ranking(key)
    if line is not None:
        return check_ranking(line, layers)
    ranking = check_ranking(rank(closed, inputs.data, inputs.context.progress), layers)
    scores, low = dict(ranking.scores), ranking.low_is_worse
    journal.append({"kind": "ranking", "key": key, "scores": scores, "low_is_worse": low})
    return ranking
