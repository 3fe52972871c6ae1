"""The phases of tuning: bounds first, then mixtures along the ways between them, then layers given back.

Bounds have all layers on one rung. A mixture lies on the way from one of them to another one that satisfies,
or to float32, see `way.py`: a strategy (binary search) finds the shortest part of the way that satisfies.
Ways from INT8 come first; of each way only the part is tried that costs less than the best so far, its end
first. In the end layers of the best mixture are lowered again, those first that cost least a rung below: a
ranking is a guess, and not all of them are needed where they are. The cost of a configuration is the sum of
the rungs that its layers were raised.

Two things are taken for granted. No mixture satisfies whose highest rung fails for the whole model, but for
float32, which cannot fail; and none without a layer that is higher than in a configuration that failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qir.search.configurations import Configuration, lowered
from qir.search.loop import fine_search
from qir.search.rungs import Rung
from qir.search.search import Search
from qir.search.steps import Step
from qir.search.strategies.base import Flags, MetricEval, Strategy
from qir.search.tuning.giving_back import give_back
from qir.search.tuning.ladder import BASE, FLOAT, Ladder, cost, is_within
from qir.search.tuning.mixtures import Mixtures
from qir.search.tuning.result import Phase, phase_of
from qir.search.tuning.way import Information, Way, way_up


@dataclass
class Phases:
    """Goes through the phases; `done` are those that came to their end, or were left when it was stopped."""

    search: Search
    mixtures: Mixtures
    strategy: Strategy
    information: Information
    done: list[Phase] = field(default_factory=list)

    def run(self) -> None:
        """All phases. LimitReached when a limit comes first; the phase that was under way is then noted."""
        if self._bound(BASE, {}):
            return
        ladder = self._ladder
        met = [rung for rung in ladder.rungs if rung == FLOAT or self._rung_bound(rung)]
        for i, base in enumerate((BASE, *ladder.available)):
            for rung in ladder.available[i:]:
                if rung in met:
                    self._mixture(base, rung)
        if self._best:
            self._phase("given back", self._give_back)

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

    def _mixture(self, base: str, rung: Rung) -> None:
        """Find how little of the way from one rung to another will do."""
        best, name = self._best, f"{base} to {rung}"
        if best is not None and cost(self._ladder.raised(self._ladder.layers, base)) >= cost(best):
            return
        whole = way_up(self._ladder, base, rung, self.information)
        way = whole if best is None else whole.cheaper_than(cost(best))
        is_known = whole.end == best or (way == whole and rung == FLOAT)
        if not way.moves:
            note = "not tried: it would cost no less than what was found"
        elif not is_known and self._failed(way.end) is not None:
            note = "not tried: nothing in it that would cost less is higher than what failed"
        else:
            self._phase(name, lambda: self._bisect(way, is_known=is_known))
            return
        if whole.moves and base == BASE:
            self.done.append(Phase(name, None, 0, note))

    def _bisect(self, way: Way, *, is_known: bool) -> None:
        """Let the strategy search along a way, if it is not known that its end satisfies, behind that."""
        scores = way.scores
        end = dict.fromkeys(scores, False)

        def evaluate(flags: Flags) -> MetricEval:
            return self._guessed(way.configuration(flags), flags)

        if is_known or evaluate(end)[0]:
            floats = len(way.end) == len(self.mixtures.quantized) and set(way.end.values()) == {FLOAT}
            fine_search(self.strategy, scores, (False, math.inf), evaluate, floats_end=floats)

    def _give_back(self) -> None:
        """Lower layers of the best mixture, as long as it keeps satisfying."""
        best = self._best
        assert best is not None  # there is nothing to lower otherwise

        def satisfies(configuration: Configuration) -> bool | None:
            if self._failed(configuration) is not None:
                return None
            order = {name: name not in configuration for name in self._ladder.layers}
            return self._evaluate(configuration, order)[0]

        give_back(best, self._ladder, self.information, satisfies)

    def _guessed(self, configuration: Configuration, flags: Flags) -> MetricEval:
        """The answer to a configuration, or to one that failed and has no layer on a lower rung."""
        failed = self._failed(configuration)
        return self._evaluate(configuration, flags) if failed is None else failed.metric_eval

    def _failed(self, configuration: Configuration) -> Step | None:
        """A step that failed although no layer was lower than in a configuration."""
        for step in self.search.steps:
            other = step.configuration
            if other is not None and not step.metric_eval[0] and is_within(configuration, other):
                return step
        return None

    def _evaluate(self, configuration: Configuration, flags: Flags) -> MetricEval:
        return self.search.evaluate(self.mixtures, configuration, flags, self.strategy.evaluations_left)

    def _phase(self, name: str, work: Callable[[], object], note: str = "") -> None:
        """Do the work of a phase and note what came of it, also when a limit ends it."""
        start = len(self.search.steps)
        try:
            work()
        finally:
            steps: Sequence[Step] = self.search.steps[start:]
            if steps:
                self.done.append(phase_of(name, steps, note))
