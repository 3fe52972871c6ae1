"""The ladder that rolled back layers climb: a search on each rung until one satisfies."""

from __future__ import annotations

from collections.abc import Sequence

from qir.search.configurations import Configuration
from qir.search.loop import fine_search
from qir.search.prepared import INTEGER_RUNGS, Prepared
from qir.search.ranking import Ranking
from qir.search.rungs import Rung
from qir.search.search import Search
from qir.search.strategies.base import Flags, MetricEval, Strategy


def climb(
    search: Search,
    strategy: Strategy,
    prepared: Prepared,
    ranking: Ranking,
    whole: MetricEval,
    fallback: Sequence[Rung] = ("float32",),
) -> Configuration | None:
    """What the strategy comes to on the first rung where it finds something; None when nothing satisfies.

    `whole` is the answer to the model in which every layer is quantized.
    """
    for later, rung in zip(reversed(range(len(fallback))), fallback, strict=True):
        found = _on_rung(search, strategy, prepared, ranking, whole, rung, later)
        if found is not None:
            return found
    return None


def _on_rung(
    search: Search,
    strategy: Strategy,
    prepared: Prepared,
    ranking: Ranking,
    whole: MetricEval,
    rung: Rung,
    later: int,
) -> Configuration | None:
    """As `climb`, on one rung, behind which `later` ones wait: each may take as many evaluations again."""
    is_integer = rung in INTEGER_RUNGS
    wide = prepared.takes(rung) if rung == "int16" or rung == "int16-ec" else frozenset()
    if is_integer and not wide:
        return None

    def configuration(flags: Flags) -> Configuration:
        back = [name for name, quantized in flags.items() if not quantized]
        return {name: "float32" if is_integer and name not in wide else rung for name in back}

    of_rung: int | None = None  # evaluations that a rung may take

    def left() -> int | None:
        nonlocal of_rung
        own = strategy.evaluations_left()
        if own is None:
            return None
        of_rung = own + 1 if of_rung is None else of_rung
        more = 0 if search.best is not None else later * of_rung
        return search.evaluations.within_limit(own + more)

    def evaluate(flags: Flags) -> MetricEval:
        return search.evaluate(prepared, configuration(flags), flags, left)

    found = fine_search(strategy, ranking.information, whole, evaluate, floats_end=not wide)
    return None if found is None else configuration(found)
