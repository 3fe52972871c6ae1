"""How far every result along a graph lies from the float one, for variants with other operands rounded.

Float values and variants come from one run (`shadows.py`) in segments, and are compared as soon as both are
there, so that few tensors exist at a time, however many samples there are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from qir.ir.graph import Graph
from qir.runtime.metrics import Metric, score_of
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segmented import SegmentedSession
from qir.runtime.shadows import Names, with_shadows
from qir.runtime.switches import Choice
from qir.runtime.units import Array, Unit
from qir.runtime.workers import cores, ordered_map

T = TypeVar("T")
_AT_ONCE = 4
"""Variants that run side by side; more are run in turns."""


def scores_along(
    graph: Graph,
    choices: Sequence[Choice],
    values: Sequence[str],
    metric: Metric,
    units: Callable[[], Iterable[Unit]],
    progress: Progress | None = None,
) -> tuple[int, list[dict[str, float | None]]]:
    """The number of units, and for each choice of rounded readings the mean score of each of `values`.

    None for values that are no arrays of finite floats. Values that a choice leaves as they are have the
    score of equal outputs.
    """
    found: list[dict[str, float | None]] = []
    equal = metric.worst(())
    count = 0
    for start in range(0, len(choices), _AT_ONCE):
        part = choices[start : start + _AT_ONCE]
        shadowed, names = with_shadows(graph, part)
        pairs = [{name: shadows[name] for name in values if name in shadows} for shadows in names]
        count, totals = _mean_scores(shadowed, pairs, metric, units, progress)
        found += [{name: scores.get(name, equal) for name in values} for scores in totals]
    return count, found


def _mean_scores(
    shadowed: Graph,
    pairs: Sequence[Names],
    metric: Metric,
    units: Callable[[], Iterable[Unit]],
    progress: Progress | None,
) -> tuple[int, list[dict[str, float | None]]]:
    def score(_: str, expected: Array, got: Array) -> float:
        if expected.dtype.kind != "f":
            return np.nan
        return score_of(metric, expected, got if got.shape == expected.shape else np.zeros_like(expected))

    runner = PairRunner(shadowed, pairs)
    sums: dict[tuple[int, str], float] = {}
    count = 0
    with (SILENT if progress is None else progress).task("accumulated error", None) as task:
        run = functools.partial(runner.run, visit=score)
        for scores in ordered_map(run, units(), cores(), runner.stop):
            for key, value in scores.items():
                sums[key] = sums.get(key, 0.0) + value
            count += 1
            task.advance()
    return count, [
        {name: _finite(sums[i, name] / count) for name in names if (i, name) in sums}
        for i, names in enumerate(pairs)
    ]


def _finite(score: float) -> float | None:
    return None if np.isnan(score) else score


class PairRunner:
    """Runs a graph in segments and hands each pair of values to a function as soon as both are there."""

    def __init__(self, graph: Graph, pairs: Sequence[Mapping[str, str]]) -> None:
        """`pairs` has by variant the names of float values and of what stands for them."""
        self._waiting: dict[str, list[tuple[int, str, str]]] = {}  # by either name
        self._uses: dict[str, int] = {}
        for variant, names in enumerate(pairs):
            for a, b in names.items():
                for name in (a, b):
                    self._waiting.setdefault(name, []).append((variant, a, b))
                    self._uses[name] = self._uses.get(name, 0) + 1
        self._session = SegmentedSession(graph, [graph.value(name) for name in self._uses])
        self.stop = self._session.stop

    def run(self, unit: Unit, visit: Callable[[str, Array, Array], T]) -> dict[tuple[int, str], T]:
        """What `visit` makes of (float name, float array, array of the variant), by variant and name."""
        held: dict[str, Array] = {}
        left = dict(self._uses)
        found: dict[tuple[int, str], T] = {}
        for tensors in self._session.stages(unit.feeds, {}):
            for name in tuple(tensors):
                held[name] = tensors.pop(name)
                for variant, a, b in self._waiting[name]:
                    if a in held and b in held and (variant, a) not in found:
                        found[variant, a] = visit(a, held[a], held[b])
                        for used in (a, b):
                            left[used] -= 1
                            if not left[used]:
                                del held[used]
        return found
