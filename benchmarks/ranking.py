"""Which of several methods is the best over many cases? Ranks, drops, and wins against peers.

A drop is the part of the float model's metric that is lost, in percent. A rank is the place of a method
among the methods on one case, 1 for the best; equal scores share the mean of their places. The noise that a
metric has on a few hundred samples is not in it: SQNR of the outputs, to the float ones, stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.results import Result
from benchmarks.scores import FLOAT
from benchmarks.tables import markdown

F64 = npt.NDArray[np.float64]
EQUAL = 1e-9
"""Scores that differ by less are the same score, added up in another order."""
EXACT = 200.0
"""dB above which outputs are equal."""


def ranking(
    results: Mapping[str, Mapping[str, Result]], own: Sequence[str], peers: Sequence[str], default: str
) -> str:
    """A row for each quantizer, over all cases; ranks are among `own`, and only of cases that all manage."""
    complete = [case for case, found in results.items() if all("score" in found[name] for name in own)]
    metric = np.array([[results[case][name]["score"] for name in own] for case in complete], np.float64)
    signal = np.array([[results[case][name]["sqnr"] for name in own] for case in complete], np.float64)
    rank, rank_of_signal = places(metric), places(np.minimum(signal, EXACT))
    rows = []
    for name in (*own, *peers):
        drops = {c: drop(found, name) for c, found in results.items() if "score" in found[name]}
        mean, worst = ["", ""], ["", ""]
        if name in own and complete:
            mean = [f"{each[:, own.index(name)].mean():.2f}" for each in (rank, rank_of_signal)]
        if drops:
            lost = max(drops, key=lambda case: drops[case])
            worst = [f"{np.mean(list(drops.values())):.2f} %", f"{drops[lost]:.2f} % ({lost})"]
        title = f"{name} (default)" if name == default else name
        won = wins(results, name, peers) if name in own else ""
        rows.append([title, *mean, *worst, won, str(len(results) - len(drops))])
    header = ["quantizer", "mean rank", "by SQNR", "mean drop", "worst drop", "at or above the best peer"]
    return markdown([*header, "failed"], rows)


def places(scores: F64) -> F64:
    """The place of each column in its row, 1 for the highest score; equal scores share their mean place."""
    above = (scores[:, None, :] > scores[:, :, None] + EQUAL).sum(axis=2)
    equal = (np.abs(scores[:, None, :] - scores[:, :, None]) <= EQUAL).sum(axis=2)
    found: F64 = above + (equal + 1) / 2
    return found


def drop(found: Mapping[str, Result], name: str) -> float:
    """Percent of the float metric that is lost."""
    exact = float(found[FLOAT]["score"])
    return 100 * (exact - float(found[name]["score"])) / exact


def wins(results: Mapping[str, Mapping[str, Result]], name: str, peers: Sequence[str]) -> str:
    """In how many cases the score is not below any peer's, and where it is."""
    below = []
    for case, found in results.items():
        best = max((float(found[p]["score"]) for p in peers if "score" in found[p]), default=-math.inf)
        if "score" not in found[name] or float(found[name]["score"]) < best - EQUAL:
            below.append(case)
    counted = f"{len(results) - len(below)} of {len(results)}"
    return f"{counted}; not {', '.join(below)}" if below else counted
