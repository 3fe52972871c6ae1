"""Finds the evaluator that a user names: `file.py`, `file.py:NAME`, or a built-in one, `top1:data.npz`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from qir.ir.errors import ConfigError, QirError, did_you_mean
from qir.search.errors import ContractError, EvaluatorError
from qir.search.evaluators.base import Evaluator, overrides
from qir.search.evaluators.builtin import BUILT_IN, Similarity
from qir.search.evaluators.metric import MetricEvaluator, RuledEvaluator
from qir.search.evaluators.rules import MaxDrop, Rule

EvaluatorSource: TypeAlias = str | Evaluator | Callable[[str], object]
_METHODS = ("calibration", "evaluate", "metric_eval", "prepare", "modules", "fingerprint")
_NAMES = ("evaluate", "metric")
"""Functions that are taken for the metric when a file is given without a name."""


def open_evaluator(source: EvaluatorSource, rule: Rule | None) -> Evaluator:
    """The evaluator that `source` stands for: an object, a function (model file -> metric), or a text.

    `rule` says what satisfies, for those that do not say it themselves. ConfigError when one is missing or
    one too many; ContractError, a RuntimeError too, for an object of another class.
    """
    found = _named(source) if isinstance(source, str) else source
    if inspect.isclass(found) and issubclass(found, Evaluator):
        found = _made(found)
    if isinstance(found, Evaluator):
        return _with_rule(found, rule)
    if hasattr(found, "evaluate") or inspect.isclass(found) or not callable(found):
        raise ContractError(
            "the model evaluator is not inherited from base class AutoCalibrationEvaluatorBase "
            f"(qir.search.evaluators.Evaluator): {_title(found)}"
        )
    if rule is None:
        raise ConfigError(
            "a metric alone does not say what is good enough: give max_drop (or at_least), or an evaluator "
            "class with metric_eval"
        )
    return MetricEvaluator(found, rule)


def _with_rule(evaluator: Evaluator, rule: Rule | None) -> Evaluator:
    name = type(evaluator).__name__
    for method in _METHODS:
        if not callable(getattr(evaluator, method)):
            raise ConfigError(
                f"evaluator {name} has an attribute '{method}' that is no method: qir calls this one, give "
                "the attribute another name"
            )
    if not overrides(evaluator, "evaluate"):
        raise ConfigError(f"evaluator {name} has no evaluate: it must give the metric of a model file")
    decides = overrides(evaluator, "metric_eval")
    if rule is None and not decides:
        raise ConfigError(f"evaluator {name} has no metric_eval: say by max_drop or at_least what satisfies")
    if rule is not None and decides:
        raise ConfigError(
            f"evaluator {name} says in its metric_eval what satisfies; leave out max_drop and "
            "at_least, or remove the method"
        )
    if isinstance(evaluator, Similarity) and isinstance(rule, MaxDrop):
        evaluator.check_drop()
    return evaluator if rule is None else RuledEvaluator(evaluator, rule)


def _named(text: str) -> object:
    """The object of that name: an Evaluator, its class, or a function."""
    kind, colon, rest = text.partition(":")
    if colon and kind in BUILT_IN:
        return BUILT_IN[kind](rest)
    file, colon, name = text.rpartition(":")
    if not (colon and file.endswith(".py")):
        file, name = text, ""
    if not file.endswith(".py"):
        known = ", ".join(f"{built}:FILE.npz" for built in BUILT_IN)
        near = did_you_mean(kind, BUILT_IN)
        raise ConfigError(f"'{text}' is no evaluator; give FILE.py, FILE.py:NAME, or one of {known}{near}")
    module = _import(Path(file))
    return _attribute(module, file, name) if name else _only(module, file)


def _import(path: Path) -> ModuleType:
    """The module of a file; like a script it may import its neighbours, also later."""
    if not path.is_file():
        raise ConfigError(f"the evaluator's file '{path}' does not exist")
    name = f"qir_evaluator_{path.stem}"  # metrics of its classes are stored under this name
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"'{path}' is not a Python file")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except QirError:
        raise
    except (Exception, SystemExit) as error:
        raise EvaluatorError(
            f"'{path}' raised {type(error).__name__}: {error} (while it was imported)"
        ) from error
    return module


def _attribute(module: ModuleType, file: str, name: str) -> object:
    if not hasattr(module, name):
        raise ConfigError(f"'{file}' has no '{name}'{did_you_mean(name, _public(module))}")
    return getattr(module, name)


def _only(module: ModuleType, file: str) -> object:
    """The evaluator of a file that names none: its only class or object of that kind, or its function."""
    items = {name: getattr(module, name) for name in _public(module)}
    classes = [i for i in items.values() if inspect.isclass(i) and issubclass(i, Evaluator)]
    own = [c for c in classes if c.__module__ == module.__name__]
    objects = [i for i in items.values() if isinstance(i, Evaluator)]
    functions = [items[name] for name in _NAMES if inspect.isfunction(items.get(name))]
    for found in (objects, own, functions):
        if len(found) == 1:
            return found[0]
    several = sorted(name for name in items if items[name] in (*objects, *own, *functions))
    which = f"has several: {', '.join(several)}" if several else f"has no class of it and no {_NAMES[0]}()"
    raise ConfigError(f"which evaluator of '{file}'? It {which}; give {file}:NAME")


def _public(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def _made(kind: type[Evaluator]) -> Evaluator:
    try:
        return kind()
    except (Exception, SystemExit) as error:
        raise EvaluatorError(
            f"evaluator {kind.__name__} cannot be made without arguments: {type(error).__name__}: {error}; "
            "give the name of an object of it"
        ) from error


def _title(item: object) -> str:
    return item.__name__ if inspect.isclass(item) else f"an object of class {type(item).__name__}"
