"""Strategies: which configuration to evaluate next."""

from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy
from qir.search.strategies.binary_search import BinarySearchStrategy
from qir.search.strategies.greedy import GreedyStrategy
from qir.search.strategies.named import STRATEGIES, strategy_named
from qir.search.strategies.refine import RefineStrategy

__all__ = [
    "STRATEGIES",
    "BinarySearchStrategy",
    "Flags",
    "GreedyStrategy",
    "MetricEval",
    "Proposal",
    "RefineStrategy",
    "Strategy",
    "strategy_named",
]
