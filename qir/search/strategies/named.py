"""The strategies by name, and what a user may give in place of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from qir.ir.errors import ConfigError, did_you_mean
from qir.search.errors import ContractError
from qir.search.strategies.base import Strategy
from qir.search.strategies.binary_search import BinarySearchStrategy
from qir.search.strategies.greedy import GreedyStrategy
from qir.search.strategies.refine import RefineStrategy

STRATEGIES: Mapping[str, Callable[[], Strategy]] = MappingProxyType(
    {"BinarySearch": BinarySearchStrategy, "Greedy": GreedyStrategy, "Refine": RefineStrategy}
)
"""Name -> strategy with its default options."""


def strategy_named(strategy: str | Strategy) -> Strategy:
    """The strategy of that name, or the object itself.

    ConfigError with the nearest names for an unknown one; ContractError, which is a RuntimeError too, for an
    object of another class.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if not isinstance(strategy, str):
        raise ContractError(
            "strategy is not inherited from base class AutoCalibrationStrategyBase "
            f"(qir.search.strategies.Strategy): {strategy!r:.100}"
        )
    made = STRATEGIES.get(strategy)
    if made is None:
        known = ", ".join(f"'{name}'" for name in STRATEGIES)
        near = did_you_mean(strategy, STRATEGIES)
        raise ConfigError(f"there is no strategy '{strategy}'; known: {known}{near}")
    return made()
