"""The phases of tuning: bounds first, then mixtures, each the cheapest that the search along a ranking finds.

Bounds have all layers on one rung. A mixture has the layers of one rung raised to another one that satisfies
as a bound, or to float32: a strategy (binary search) finds the fewest, worst first. INT8 comes first as the
lower rung; only what costs less than the best so far is tried. In the end the layers of the best mixture are
lowered again, rung by rung, the least sensitive ones first. The cost of a configuration is the sum of the
rungs that its layers were raised.

That no mixture satisfies whose highest rung fails for the whole model is taken for granted, but for float32,
which cannot fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from qir.search.configurations import Configuration, lowered
from qir.search.loop import fine_search
from qir.search.ranking import Ranking
from qir.search.rungs import Rung
from qir.search.search import Search
from qir.search.steps import Step
from qir.search.strategies.base import Flags, MetricEval, Strategy
from qir.search.tuning.ladder import BASE, Ladder, cost
from qir.search.tuning.mixtures import Mixtures
from qir.search.tuning.result import Phase, phase_of

FLOAT: Rung = "float32"


@dataclass
class Phases:
    """Goes through the phases; `done` are those that came to their end, or were left when it was stopped."""

    search: Search
    mixtures: Mixtures
    strategy: Strategy
    rank: Callable[[], Ranking]
    done: list[Phase] = field(default_factory=list)

    def run(self) -> None:
        """All phases. LimitReached when a limit comes first; the phase that was under way is then noted."""
        if self._bound(BASE, {}):
            return
        ladder = self._ladder
        met = [rung for rung in ladder.rungs if rung == FLOAT or self._rung_bound(rung)]
        ranking = self.rank()
        for i, base in enumerate((BASE, *ladder.available)):
            for rung in ladder.available[i:]:
                if rung in met:
                    self._mixture(base, rung, ranking)
        self._lower(ranking)

    @property
    def _ladder(self) -> Ladder:
        return self.mixtures.ladder

    @property
    def _best(self) -> Configuration | None:
        return None if self.search.best is None else self.search.best.configuration

    def _rung_bound(self, rung: Rung) -> bool:
        """Evaluate the model with every layer raised to a rung; whether it satisfies."""
        configuration = self._ladder.raised(self._ladder.layers, rung)
        if rung not in self._ladder.available:
            highest = ", ".join(lowered(configuration)) or BASE
            self.done.append(Phase(f"all {rung}", None, 0, f"no layer has it on this target, only {highest}"))
            return False
        return self._bound(rung, configuration)

    def _bound(self, rung: str, configuration: Configuration) -> bool:
        answers: list[MetricEval] = []
        order = {name: name not in configuration for name in self._ladder.layers}
        missing = sum(configuration.get(name, BASE) != rung for name in self._ladder.layers)
        note = f"layers without it on this target: {missing}" if missing and rung != BASE else ""
        self._phase(f"all {rung}", lambda: answers.append(self._evaluate(configuration, order)), note)
        return answers[0][0]

    def _mixture(self, base: str, rung: Rung, ranking: Ranking) -> None:
        """Find the fewest layers that must be raised to a rung while the others are on a lower one."""
        ladder, best = self._ladder, self._best
        below = self._all(base)
        layers = [name for name in ranking.worst_first if ladder.reached(name, rung) != below.get(name, BASE)]

        def configuration(flags: Flags) -> Configuration:
            return {**below, **ladder.raised([name for name, stays in flags.items() if not stays], rung)}

        whole = configuration(dict.fromkeys(layers, False))
        is_known = whole == best or rung == FLOAT
        while layers and best is not None and cost(configuration(dict.fromkeys(layers, False))) >= cost(best):
            layers.pop()
            is_known = is_known and whole == best
        name = f"{base} + {rung}"
        if layers:
            scores = {layer: ranking.information[layer] for layer in layers}
            self._phase(name, lambda: self._fewest(scores, configuration, is_known=is_known))
        elif whole and base == BASE:
            self.done.append(Phase(name, None, 0, "not tried: it would cost no less than what was found"))

    def _all(self, rung: str) -> dict[str, str]:
        """The configuration with every layer on a rung, or in INT8."""
        at = next((other for other in self._ladder.rungs if other == rung), None)
        return {} if at is None else self._ladder.raised(self._ladder.layers, at)

    def _fewest(
        self, scores: Mapping[str, float], configuration: Callable[[Flags], Configuration], *, is_known: bool
    ) -> None:
        """Bisect; where it is not known that all layers of the ranking would do, these come first."""
        everything = dict.fromkeys(scores, False)
        if is_known or self._evaluate(configuration(everything), everything)[0]:
            self._search_along(scores, configuration)

    def _lower(self, ranking: Ranking) -> None:
        """Lower layers of the best mixture again, as far as it keeps satisfying, rung by rung."""
        highest = self._all(self._ladder.available[-1]) if self._ladder.available else {}
        all_raised = (self._best or {}).keys() == highest.keys()
        for i, rung in reversed(list(enumerate(self._ladder.available))):
            best = self._best
            high = [] if best is None else [name for name, own in best.items() if own == rung]
            below = self._ladder.available[i - 1] if i else None
            if best is not None and high and (below is not None or all_raised):
                self._lower_from(rung, below, dict(best), high, ranking)

    def _lower_from(
        self, rung: Rung, below: Rung | None, best: Configuration, high: Sequence[str], ranking: Ranking
    ) -> None:
        """Find the fewest of the layers on a rung that must stay there; the others go below (None: INT8)."""
        ladder = self._ladder
        rest = {name: own for name, own in best.items() if name not in high}
        scores = {name: ranking.information[name] for name in ranking.worst_first if name in high}

        def configuration(flags: Flags) -> Configuration:
            down = [name for name, lower in flags.items() if lower]
            up = {name: rung for name, lower in flags.items() if not lower}
            return {**rest, **up, **({} if below is None else ladder.raised(down, below))}

        def bisect() -> None:
            lowest = dict.fromkeys(scores, True)
            if not self._evaluate(configuration(lowest), lowest)[0]:
                self._search_along(scores, configuration)

        self._phase(f"{rung} -> {below or BASE}", bisect)

    def _search_along(
        self, scores: Mapping[str, float], configuration: Callable[[Flags], Configuration]
    ) -> None:
        """Let the strategy search along a ranking; the best is kept, whatever it comes to."""

        def evaluate(flags: Flags) -> MetricEval:
            return self._evaluate(configuration(flags), flags)

        raised = configuration(dict.fromkeys(scores, False))
        ends = len(raised) == len(self.mixtures.quantized) and set(raised.values()) == {FLOAT}
        fine_search(self.strategy, scores, (False, math.inf), evaluate, floats_end=ends)

    def _evaluate(self, configuration: Configuration, flags: Flags) -> MetricEval:
        return self.search.evaluate(self.mixtures, configuration, flags, self.strategy.evaluations_left)

    def _phase(self, name: str, work: Callable[[], object], note: str = "") -> None:
        """Do the work of a phase and note what came of it, also when a limit ends it."""
        start = len(self.search.steps)
        try:
            work()
        finally:
            steps: Sequence[Step] = self.search.steps[start:]
            self.done.append(phase_of(name, steps, note))
