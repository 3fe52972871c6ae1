"""Evaluators: how accurate a model is, and whether that is enough."""

from qir.search.evaluators.base import Evaluator
from qir.search.evaluators.builtin import BUILT_IN, Similarity, TopK
from qir.search.evaluators.loading import EvaluatorSource, open_evaluator
from qir.search.evaluators.metric import MetricEvaluator
from qir.search.evaluators.rules import MaxDrop, Rule, Threshold

__all__ = [
    "BUILT_IN",
    "Evaluator",
    "EvaluatorSource",
    "MaxDrop",
    "MetricEvaluator",
    "Rule",
    "Similarity",
    "Threshold",
    "TopK",
    "open_evaluator",
]
