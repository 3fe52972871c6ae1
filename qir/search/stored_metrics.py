"""Metrics as they stand in a journal: plain ones as JSON, others pickled, if they can be read back safely.

Reading a pickle may run code, and a journal may come from somebody else. Only plain containers, numpy and
the classes of the modules that the caller trusts (the user's own evaluator) are made from one.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Mapping, Set
from dataclasses import dataclass

_SAFE_NUMPY = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"})
_SAFE = frozenset({
    ("builtins", "complex"), ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "bytearray"),
    ("collections", "OrderedDict"), ("collections", "Counter"), ("decimal", "Decimal"),
    ("fractions", "Fraction"),
})  # fmt: skip


@dataclass(frozen=True)
class Unknown:
    """A metric that a journal could not keep, or that cannot be read back here."""

    text: str


def encode_metric(metric: object) -> dict[str, object]:
    """`{"value": …}` for what JSON keeps, else `{"pickle": base64, "text": …}`, or `{"text": …}` alone."""
    if _is_json(metric):
        return {"value": metric}
    text = f"{metric!r:.200}"
    try:
        data = pickle.dumps(metric, protocol=4)
    except Exception:  # whatever a foreign object raises: then it cannot be kept
        return {"text": text}
    return {"pickle": base64.b64encode(data).decode(), "text": text}


def decode_metric(stored: Mapping[str, object], trusted: Set[str]) -> object:
    """The metric that `encode_metric` was given, or `Unknown`. `trusted` are names of modules."""
    if "value" in stored:
        return stored["value"]
    text, data = str(stored.get("text", "")), stored.get("pickle")
    if not isinstance(data, str):
        return Unknown(text)
    try:
        return _Unpickler(io.BytesIO(base64.b64decode(data)), trusted).load()
    except Exception:  # damaged, not trusted, or a class that has changed: then it is not known
        return Unknown(text)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, trusted: Set[str]) -> None:
        super().__init__(file)
        self._trusted = trusted

    def find_class(self, module: str, name: str) -> object:
        is_numpy = module in ("numpy", "numpy.dtypes") or module.startswith(("numpy.core.", "numpy._core."))
        if (module, name) in _SAFE or (is_numpy and name in _SAFE_NUMPY):
            return super().find_class(module, name)
        if module in self._trusted:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ in self._trusted:  # not what the module imports
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not trusted")


def _is_json(metric: object) -> bool:
    """True when JSON gives back the same values of the same types."""
    try:
        back = json.loads(json.dumps(metric))
    except (TypeError, ValueError, RecursionError):
        return False
    return _same(metric, back)


def _same(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b
