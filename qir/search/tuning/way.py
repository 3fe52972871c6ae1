"""The way from one rung up to another: layers move one by one, those first that cost most where they are.

What a layer costs is measured on each rung: it alone is there, the rest of the model in float. A layer skips
rungs that are no better for it than the one it leaves. So at any place of the way there is a threshold, and
every layer is on the lowest rung on which it alone costs less: one bisection decides about mixtures of all
the rungs between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from qir.search.configurations import Configuration
from qir.search.rungs import Rung
from qir.search.strategies.base import Flags
from qir.search.tuning.ladder import BASE, Ladder, cost, height

Information = Callable[[str], Mapping[str, float]]
"""Rung -> what strategies are given of the layers on it: low values stand for those that cost most."""


@dataclass(frozen=True)
class Move:
    """A layer goes to a rung; `score` is what was measured of it on the one that it leaves."""

    layer: str
    rung: Rung
    score: float

    @property
    def name(self) -> str:
        """As strategies call it."""
        return f"{self.layer} {self.rung}"


@dataclass(frozen=True)
class Way:
    """A configuration and the moves that lead up from it, the most urgent first."""

    below: Configuration
    moves: tuple[Move, ...]

    @property
    def scores(self) -> dict[str, float]:
        """Move -> score: the ranking for a strategy."""
        return {move.name: move.score for move in self.moves}

    def configuration(self, flags: Flags) -> Configuration:
        """With the moves that are rolled back: a layer goes as many of its rungs up as moves of it are."""
        own: dict[str, list[Move]] = {}
        counts: dict[str, int] = {}
        for move in self.moves:
            own.setdefault(move.layer, []).append(move)
            counts[move.layer] = counts.get(move.layer, 0) + (not flags[move.name])
        up = {layer: own[layer][count - 1].rung for layer, count in counts.items() if count}
        return {**self.below, **up}

    @property
    def end(self) -> Configuration:
        """The configuration to which all moves lead."""
        return self.configuration(dict.fromkeys(self.scores, False))

    def cheaper_than(self, limit: int) -> Way:
        """The part of the way on which configurations cost less than `limit`."""
        way = self
        while way.moves and cost(way.end) >= limit:
            way = replace(way, moves=way.moves[:-1])
        return way


def way_up(ladder: Ladder, base: str, top: Rung, information: Information) -> Way:
    """The way from all layers on `base` to all of them on `top`, where they have these rungs."""
    below = {name: ladder.highest(name, base) for name in ladder.layers}
    found = [move for name in ladder.layers for move in moves_of(name, below[name], top, ladder, information)]
    raised = {name: rung for name, rung in below.items() if rung != BASE}
    return Way(raised, tuple(sorted(found, key=lambda move: move.score)))


def moves_of(layer: str, base: str, top: str, ladder: Ladder, information: Information) -> Iterator[Move]:
    """The moves of one layer; on the highest rung that it may have it is taken to cost nothing."""
    score, last = information(base)[layer], ladder.highest(layer, top)
    for rung in ladder.steps[layer]:
        if height(base) < height(rung) <= height(top):
            above = math.inf if rung == last else information(rung)[layer]
            if above > score:
                yield Move(layer, rung, score)
                score = above
