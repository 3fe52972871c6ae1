"""The way up a ladder and layers given back, on ladders made up for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from hypothesis import assume, given
from hypothesis import strategies as st

from qir.search.configurations import Configuration
from qir.search.rungs import RUNGS, Rung
from qir.search.strategies.base import rolled_back
from qir.search.tuning.giving_back import give_back
from qir.search.tuning.ladder import BASE, Ladder, cost, height, is_within
from qir.search.tuning.way import Information, Way, way_up

NAMES = tuple(f"l{i}" for i in range(9))
STEPS = st.lists(st.sampled_from(RUNGS), min_size=1, unique=True).map(
    lambda found: tuple(sorted(found, key=RUNGS.index))
)
LADDERS = st.lists(STEPS, min_size=1, max_size=len(NAMES)).map(
    lambda found: Ladder(RUNGS, dict(zip(NAMES, found, strict=False)))
)
SCORES = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((BASE, *RUNGS))), st.integers(0, 20), min_size=20
)


def information(scores: Mapping[tuple[str, str], int]) -> Information:
    return lambda rung: {name: float(scores.get((name, rung), 0)) for name in NAMES}


def part(way: Way, count: int) -> Configuration:
    return way.configuration(rolled_back(way.scores, list(way.scores)[:count]))


@given(ladder=LADDERS, scores=SCORES)
def test_every_layer_is_on_the_lowest_rung_on_which_it_costs_little_enough(
    ladder: Ladder, scores: dict[tuple[str, str], int]
) -> None:
    known = information(scores)
    way = way_up(ladder, BASE, "float32", known)
    assert way.end == ladder.raised(ladder.layers, "float32")
    for count, move in enumerate(way.moves):
        if count and way.moves[count - 1].score == move.score:
            continue  # equal scores: the threshold lies behind them
        for name, rung in {**dict.fromkeys(ladder.layers, BASE), **part(way, count)}.items():
            below = [r for r in (BASE, *ladder.steps[name]) if height(r) < height(rung)]
            last = rung == ladder.steps[name][-1]
            own = math.inf if last else known(rung)[name]
            assert own >= move.score
            assert all(known(r)[name] < move.score for r in below)


@given(ladder=LADDERS, scores=SCORES, base=st.sampled_from((BASE, *RUNGS)), top=st.sampled_from(RUNGS))
def test_a_way_only_climbs(ladder: Ladder, scores: dict[tuple[str, str], int], base: str, top: Rung) -> None:
    assume(height(base) <= height(top))
    way = way_up(ladder, base, top, information(scores))
    found = [part(way, count) for count in range(len(way.moves) + 1)]
    assert found[0] == ladder.raised(ladder.layers, base)
    for low, high in itertools.pairwise(found):
        assert is_within(low, high)
        assert cost(low) < cost(high)
    for limit in range(cost(way.end) + 2):
        cheaper = way.cheaper_than(limit)
        assert not cheaper.moves or cost(cheaper.end) < limit
        assert cheaper.moves == way.moves[: len(cheaper.moves)]


@given(ladder=LADDERS, scores=SCORES, needed=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(RUNGS)))
def test_what_is_given_back_was_not_needed(
    ladder: Ladder, scores: dict[tuple[str, str], int], needed: dict[str, str]
) -> None:
    start = ladder.raised(ladder.layers, "float32")
    least = {name: rung for name, rung in needed.items() if is_within({name: rung}, start)}
    asked: list[bool] = []

    def satisfies(configuration: Configuration) -> bool:
        asked.append(is_within(least, configuration))
        return asked[-1]

    found = give_back(start, ladder, information(scores), satisfies)
    assert is_within(least, found)
    assert is_within(found, start)
    assert asked.count(False) <= len(ladder.layers).bit_length()
    if not least:
        assert found == {}


def test_what_is_known_to_fail_costs_nothing() -> None:
    ladder = Ladder(RUNGS, dict.fromkeys(NAMES, ("int16", "float32")))
    start = dict.fromkeys(NAMES, "int16")
    found = give_back(start, ladder, information({}), lambda c: None if "l0" not in c else len(c) > 1)
    assert found in [{"l0": "int16", name: "int16"} for name in NAMES[1:]]
