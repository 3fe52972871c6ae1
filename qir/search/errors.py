"""Errors of the search. Where AMCT raises a built-in exception, ours is one of that type too."""

from __future__ import annotations

from qir.ir.errors import ConfigError, QirError


class SearchError(QirError):
    """The search cannot go on: a strategy or an evaluator breaks its contract, or a file cannot be kept."""


class EvaluatorError(SearchError):
    """The user's evaluator raised an error, or gave something that is no metric."""


class AccuracyRuleError(SearchError, ValueError):
    """The original model does not pass the user's own `metric_eval`."""


class ContractError(ConfigError, RuntimeError):
    """An evaluator or strategy is not of the class that it has to inherit from."""


class JournalError(SearchError):
    """The journal belongs to another model, is in use, or cannot be written."""
