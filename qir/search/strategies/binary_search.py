"""AMCT's BinarySearchStrategy: the fewest of the most sensitive layers whose rolling back satisfies.

Layers are sorted by ascending score, and proposal k rolls back layers 0 to k. The algorithm, its sequence of
proposals included, is that of AMCT, so that a history of the one can be compared with the other's. It takes
at most ceil(log2(N + 1)) proposals.
"""

from __future__ import annotations

from collections.abc import Mapping

from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy, rolled_back, worst_first

_BELIEF = "binary search takes it that accuracy grows with every layer in float. Where it does not, "


class BinarySearchStrategy(Strategy):
    """Finds the smallest k such that the model satisfies with the k + 1 most sensitive layers in float."""

    def __init__(self) -> None:
        self.initialize({})

    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        """Start with all layers between the borders."""
        self._layers = worst_first(ranking_info)
        self._left, self._right, self._middle = 0, len(self._layers) - 1, 0
        self._running, self._tried = False, 0
        self._proposed: Flags = {}
        self._passed: Flags = {}

    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        """Halve what lies between the borders; stop, with what satisfied last, when nothing does."""
        satisfied = metric_eval[0]
        self._tried += self._running
        if satisfied:
            self._passed = dict(self._proposed)
        if not self._running and not satisfied:
            self._running = True
            return self._propose((self._left + self._right) // 2)
        if satisfied:
            self._right = self._middle - 1
        else:
            self._left = self._middle + 1
        if self._left > self._right:
            best = self._proposed if satisfied else self._passed
            return {"stop_flag": True, "roll_back_config": dict(best)}
        return self._propose((self._left + self._right) // 2)

    def evaluations_left(self) -> int:
        """At most so many behind the one that is proposed: each halves what is left."""
        if not self._running:
            return len(self._layers).bit_length()
        return max(self._middle - self._left, self._right - self._middle, 0).bit_length()

    def note(self) -> str:
        """That fewer layers may do where accuracy is not monotone: prefixes passed by were not tried."""
        count = sum(not quantized for quantized in self._passed.values())
        if count == 1 or (not count and self._tried >= len(self._layers) - 1):
            return ""  # nothing can be better, or nothing was passed by
        return (
            f"{_BELIEF}fewer than {count} may do: strategy Refine looks for them, in more evaluations"
            if count
            else f"{_BELIEF}numbers of layers that were not tried may do: strategy Refine looks for one, in "
            "more evaluations"
        )

    def _propose(self, k: int) -> Proposal:
        self._middle = k
        self._proposed = rolled_back(self._layers, self._layers[: k + 1])
        return {"stop_flag": False, "roll_back_config": dict(self._proposed)}
