"""Trial runs: does a lowered graph run, and does it compute what it computed before?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.types import TensorType
from qir.runtime.session import Feeds, Session

Outputs: TypeAlias = Mapping[str, npt.NDArray[Any]]

_log = logging.getLogger(__name__)


class Difference(NamedTuple):
    """The output that moves most, by how much of its range."""

    name: str
    relative: float


def made_up_feeds(graph: Graph) -> Feeds | None:
    """Seeded numbers that fit the input types: normal floats, zero integers, unknown dimensions 1.

    None when an input's type is unknown or has no numpy form, so that nothing can be made up.
    """
    random = np.random.default_rng(0)
    feeds: dict[str, npt.NDArray[np.generic]] = {}
    for value in graph.inputs:
        kind = value.type
        if not isinstance(kind, TensorType) or kind.dtype is None or kind.shape is None:
            return None
        shape = tuple(d if isinstance(d, int) else 1 for d in kind.shape)
        if kind.dtype is DType.STR:
            feeds[value.name] = np.full(shape, "", object)
        elif kind.dtype.numpy is None:
            return None
        elif kind.dtype.is_float:
            feeds[value.name] = random.standard_normal(shape).astype(kind.dtype.numpy)
        else:
            feeds[value.name] = np.zeros(shape, kind.dtype.numpy)
    return feeds


def compare_runs(before: Graph, after: Graph, feeds: Feeds | None = None) -> Difference | None:
    """The largest difference between the float outputs of two graphs.

    None, with a warning, when `before` itself does not run on made-up feeds. QirError when `after` fails.
    """
    given = made_up_feeds(before) if feeds is None else feeds
    if given is None:
        _log.warning("graph '%s' was not checked: its input types do not say what to feed it", before.name)
        return None
    try:
        expected = Session(before, threads=1).run(given)
    except QirError as error:
        if feeds is not None:
            raise
        _log.warning("graph '%s' was not checked: it does not run on made-up inputs: %s", before.name, error)
        return None
    return largest_difference(expected, Session(after, threads=1).run(given))


def largest_difference(expected: Outputs, found: Outputs) -> Difference:
    """The output that moves most; `found` has the outputs of `expected` in the same order."""
    worst = Difference("", 0.0)
    for (name, old), new in zip(expected.items(), found.values(), strict=True):
        relative = _relative(old, new)
        if not relative <= worst.relative:
            worst = Difference(name, relative)
    return worst


def _relative(old: object, new: object) -> float:
    """The difference of two outputs: of tensors, or the largest in sequences and maps of tensors."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return max(map(_relative, old, new), default=0.0)
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return max((_relative(item, new[key]) for key, item in old.items()), default=0.0)
    if isinstance(old, (list, dict)) or isinstance(new, (list, dict)):
        return float("inf")
    return _relative_of_arrays(np.asarray(old), np.asarray(new))


def _relative_of_arrays(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> float:
    """max |new - old| in units of the range of old; infinite for another shape, type or set of NaNs."""
    if old.shape != new.shape or old.dtype != new.dtype:
        return float("inf")
    if np.array_equal(old, new, equal_nan=old.dtype.kind in "fc"):
        return 0.0
    if old.dtype.kind not in "fc":
        return float("inf")
    a, b = old.astype(np.complex128), new.astype(np.complex128)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    size = float(np.abs(a[finite]).max(initial=0.0))
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / max(size, 1e-30)
