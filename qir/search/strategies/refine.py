"""Binary search, then what it passes by: shorter prefixes of the ranking, and layers not needed in float.

A ranking is a guess, and accuracy is not monotone in the number of rolled back layers. So Refine goes on
where binary search ends, in two ways. It looks below: at the prefixes of the ranking that are shorter than
what was found, in Greedy's order, up to the first that satisfies. And it gives layers back, the least
sensitive ones first: a group with which the model still satisfies stays quantized, another one is halved,
down to single layers, so that m needed layers among k cost about m * log2(k / m) evaluations. What has failed
is not asked again; when giving back, nor is a part of it: quantizing even more seldom helps.

Where rolling back more layers made the loss larger, it looks below first; where all answers were as for a
monotone accuracy, it gives back first, and no prefix is looked at that has as many layers as are left then.
Either way it ends with no more layers in float than Greedy, unless the budget does not allow it, and then
`note` says so.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TypeAlias

from qir.ir.errors import ConfigError
from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy, rolled_back, worst_first
from qir.search.strategies.binary_search import BinarySearchStrategy

_Proposals: TypeAlias = Generator[Flags, MetricEval, Flags]
"""Proposals, each answered; returns the best that satisfies, or nothing."""


class RefineStrategy(Strategy):
    """Binary search followed by at most `budget` proposals with fewer layers in float.

    `budget` None stands for four times as many as binary search may take: 4 * ceil(log2(N + 1)). The first of
    both ways leaves half of it to the other. Each proposal that satisfies has more quantized layers than the
    one before, so stopping early loses nothing.
    """

    def __init__(self, budget: int | None = None) -> None:
        if budget is not None and budget < 0:
            raise ConfigError(f"the budget of Refine must be 0 evaluations or more, not {budget}")
        self._budget = budget
        self.initialize({})

    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        """Start with binary search."""
        self._layers = worst_first(ranking_info)
        self._search = BinarySearchStrategy()
        self._search.initialize(ranking_info)
        self._left = 4 * len(self._layers).bit_length() if self._budget is None else self._budget
        self._proposed = rolled_back(self._layers, ())
        self._answers: dict[frozenset[str], MetricEval] = {}
        self._best = len(self._layers)
        self._run: _Proposals | None = None

    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        """The next proposal of binary search; after its end the next one with fewer layers in float."""
        floats = _floats(self._proposed)
        self._answers[floats] = metric_eval
        if metric_eval[0]:
            self._best = min(self._best, len(floats))
        try:
            if self._run is None:
                self._run = self._proposals(metric_eval)
                self._proposed = next(self._run)
            else:
                self._proposed = self._run.send(metric_eval)
        except StopIteration as end:
            self._left = 0
            return {"stop_flag": True, "roll_back_config": dict(end.value)}
        return {"stop_flag": False, "roll_back_config": dict(self._proposed)}

    def evaluations_left(self) -> int:
        """At most so many, the whole budget included."""
        return self._left + self._search.evaluations_left()

    def note(self) -> str:
        """Which prefixes that Greedy would have tried were not, for want of budget."""
        missed = [len(prefix) for prefix in self._untried(self._best)]
        if not missed:
            return ""
        return (
            f"Refine has not tried all of the {missed[0]} to {missed[-1]} most sensitive layers in float: "
            "its budget of evaluations ended. Greedy, which tries them in turn, might leave fewer in float"
        )

    def _proposals(self, first: MetricEval) -> _Proposals:
        kept = yield from self._bisected(first)
        if not kept:
            return kept
        ways = [self._look_below, self._give_back]
        if not self._has_risen():
            ways.reverse()
        reserve = self._left // 2
        while True:
            before = self._left
            for way in ways:
                kept = yield from way(kept, reserve)
                reserve = 0
            if self._left == before:
                return kept

    def _bisected(self, answer: MetricEval) -> _Proposals:
        """Binary search, which ends with all layers in float: before that, look at prefixes passed by."""
        step = self._search.update_quant_config(answer)
        while not step["stop_flag"]:
            flags = step["roll_back_config"]
            if not any(flags.values()):
                found = yield from self._look_below({}, self._left // 2)
                if found:
                    return found
            answer = yield flags
            step = self._search.update_quant_config(answer)
        return step["roll_back_config"]

    def _has_risen(self) -> bool:
        """True when a prefix failed with a larger loss than that of a shorter one."""
        known = ((len(floats), answer) for floats, answer in self._answers.items())
        losses = [(answer[1], answer[0]) for _, answer in sorted(known, key=lambda item: item[0])]
        return any(
            loss > losses[i][0] and not satisfied
            for place, (loss, satisfied) in enumerate(losses)
            for i in range(place)
        )

    def _look_below(self, kept: Flags, reserve: int) -> _Proposals:
        """Shorter prefixes than what is `kept`, the shortest first, while more than `reserve` is left."""
        for prefix in self._untried(len(_floats(kept)) or len(self._layers)):
            if self._left <= reserve:
                break
            self._left -= 1
            trial = rolled_back(self._layers, prefix)
            if (yield trial)[0]:
                return trial
        return kept

    def _untried(self, length: int) -> list[Sequence[str]]:
        """The prefixes of the ranking that are shorter and were not proposed."""
        prefixes = [self._layers[:count] for count in range(1, length)]
        return [prefix for prefix in prefixes if frozenset(prefix) not in self._answers]

    def _give_back(self, kept: Flags, reserve: int) -> _Proposals:
        """`kept` with groups of layers quantized again, while more than `reserve` is left."""
        groups: list[Sequence[str]] = [[name for name in reversed(self._layers) if not kept[name]]]
        while groups:
            group = groups.pop()
            trial = {**kept, **dict.fromkeys(group, True)}
            satisfied = False
            if not self._is_hopeless(_floats(trial), _floats(kept)):
                if self._left <= reserve:
                    break
                self._left -= 1
                satisfied = (yield trial)[0]
            if satisfied:
                kept = trial
            elif len(group) > 1:
                half = (len(group) + 1) // 2
                groups += [group[half:], group[:half]]
        return kept

    def _is_hopeless(self, floats: frozenset[str], kept: frozenset[str]) -> bool:
        """True when these layers in float, or these and more, have failed.

        A failure with all that is `kept` in float, and more, says nothing: what is kept satisfies anyway.
        """
        failed = (tried for tried, answer in self._answers.items() if not answer[0])
        return floats in self._answers or any(floats <= tried and not kept <= tried for tried in failed)


def _floats(flags: Flags) -> frozenset[str]:
    return frozenset(layer for layer, quantized in flags.items() if not quantized)
