"""Binary search, and then layers given back that turn out not to be needed in float.

A ranking is a guess, and accuracy is not monotone in the number of rolled back layers: among the layers that
binary search rolls back are some that cost nothing. Refine quantizes groups of them again, the least
sensitive ones first. A group with which the model still satisfies stays quantized; another one is halved,
down to single layers, so that m needed layers among k cost about m * log2(k / m) evaluations. What has
failed, as the prefixes of the ranking that binary search has tried, is not asked again, nor is a part of it:
quantizing even more seldom helps.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from qir.ir.errors import ConfigError
from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy, rolled_back, worst_first
from qir.search.strategies.binary_search import BinarySearchStrategy


class RefineStrategy(Strategy):
    """Binary search followed by at most `budget` proposals that give layers back.

    `budget` None stands for twice as many as binary search may take: 2 * ceil(log2(N + 1)). Each proposal
    that satisfies has more quantized layers than the one before, so stopping early loses nothing.
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
        twice = 2 * len(self._layers).bit_length()
        self._left = twice if self._budget is None else self._budget
        self._proposed = rolled_back(self._layers, ())
        self._failed: set[frozenset[str]] = set()
        self._refinement: Generator[Flags, bool, Flags] | None = None

    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        """The next proposal of binary search; after its end the next group of layers to give back."""
        if not metric_eval[0]:
            self._failed.add(_floats(self._proposed))
        try:
            if self._refinement is not None:
                return self._propose(self._refinement.send(metric_eval[0]))
            step = self._search.update_quant_config(metric_eval)
            if not step["stop_flag"]:
                return self._propose(step["roll_back_config"])
            self._refinement = self._refine(step["roll_back_config"])
            return self._propose(next(self._refinement))
        except StopIteration as end:
            return {"stop_flag": True, "roll_back_config": dict(end.value)}

    def evaluations_left(self) -> int:
        """At most so many, the whole budget included."""
        return self._left + (0 if self._refinement is not None else self._search.evaluations_left())

    def _propose(self, flags: Flags) -> Proposal:
        self._proposed = flags
        return {"stop_flag": False, "roll_back_config": dict(flags)}

    def _refine(self, found: Flags) -> Generator[Flags, bool, Flags]:
        """Proposals with groups given back, each answered by whether it satisfies; returns the best."""
        floats = [layer for layer in reversed(self._layers) if not found.get(layer, True)]
        groups: list[Sequence[str]] = [floats] if floats else []
        kept = found
        while groups:
            group = groups.pop()
            trial = {**kept, **dict.fromkeys(group, True)}
            satisfied = False
            if not any(_floats(trial) <= failed for failed in self._failed):
                if self._left == 0:
                    break
                self._left -= 1
                satisfied = yield trial
            if satisfied:
                kept = trial
            elif len(group) > 1:
                half = (len(group) + 1) // 2
                groups += [group[half:], group[:half]]
        self._left = 0
        return kept


def _floats(flags: Flags) -> frozenset[str]:
    return frozenset(layer for layer, quantized in flags.items() if not quantized)
