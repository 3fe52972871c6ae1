"""What an evaluator keeps of the models that it was given, such as the outputs of the first one.

Its contract is to give the same metric for the same model. One that compares with what it was given first
keeps it only as long as the first is the original model, which an interrupted search does not evaluate again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import numpy as np

from qir.search.evaluators.base import Evaluator, overrides
from qir.search.evaluators.elements import as_lists

Attribute = tuple[str, object]


class Kept:
    """The attributes of an evaluator that hold other numbers than at first; counters and texts do not count.

    Those of an evaluator with a `prepare` of its own do not count either: it is told the original model
    whenever a search goes on.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._is_told = any(overrides(part, "prepare") for part in _parts(evaluator))
        self._first = dict(_attributes(evaluator))

    def digest(self) -> str:
        """16 hexadecimal digits over what they hold; empty when there are none."""
        state = hashlib.blake2b(digest_size=8)
        names = self._names()
        for name, value in _attributes(self._evaluator):
            if name in names:
                state.update(name.encode())
                for number in _numbers(value):
                    state.update(number)
        return state.hexdigest() if names else ""

    def title(self) -> str:
        """Their names, for messages."""
        return ", ".join(f"'{name}'" for name in self._names())

    def _names(self) -> list[str]:
        if self._is_told:
            return []
        return [
            name
            for name, value in _attributes(self._evaluator)
            if (name not in self._first or self._first[name] is not value)
            and next(_numbers(value), None) is not None
        ]


def _parts(evaluator: Evaluator) -> Iterator[Evaluator]:
    """An evaluator, and those that it wraps."""
    yield evaluator
    for value in _variables(evaluator).values():
        if isinstance(value, Evaluator):
            yield from _parts(value)


def _attributes(evaluator: Evaluator) -> Iterator[Attribute]:
    for part in _parts(evaluator):
        owner = getattr(_variables(part).get("_metric"), "__self__", None)  # of a method that measures
        for item in (part, owner):
            yield from sorted(_variables(item).items())


def _variables(item: object) -> dict[str, object]:
    return vars(item) if hasattr(item, "__dict__") and not isinstance(item, type) else {}


def _numbers(value: object, depth: int = 8) -> Iterator[bytes]:
    """The floats in a value, in arrays, tensors and containers."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "fc":
            yield value.tobytes()
    elif isinstance(value, (float, np.floating)):
        yield (b"nan" if math.isnan(value) else float(value).hex().encode())
    elif isinstance(getattr(value, "shape", None), tuple) and not isinstance(value, type):
        yield from _numbers(as_lists(value), depth)
    elif isinstance(value, (list, tuple, Mapping)) and depth:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(item, depth - 1)
