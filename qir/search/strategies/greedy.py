"""Rolls back one layer after the other, the most sensitive first, until the model satisfies."""

from __future__ import annotations

from collections.abc import Mapping

from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy, rolled_back, worst_first


class GreedyStrategy(Strategy):
    """Takes as many evaluations as layers go back to float: simple, exact for this ranking, and slow."""

    def __init__(self) -> None:
        self.initialize({})

    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        """Start with no layer rolled back."""
        self._layers = worst_first(ranking_info)
        self._count = 0
        self._proposed: Flags = rolled_back(self._layers, ())

    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        """Roll back one more layer unless the last proposal satisfies."""
        if metric_eval[0] or self._count == len(self._layers):
            return {"stop_flag": True, "roll_back_config": dict(self._proposed) if metric_eval[0] else {}}
        self._count += 1
        self._proposed = rolled_back(self._layers, self._layers[: self._count])
        return {"stop_flag": False, "roll_back_config": dict(self._proposed)}
