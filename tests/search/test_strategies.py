"""Strategies and the loop of proposals, without models; AMCT's own sequences are the reference."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qir.ir.errors import ConfigError
from qir.search.amct_files import HistoryEntry, parse_history, parse_ranking, print_history, print_ranking
from qir.search.errors import ContractError, SearchError
from qir.search.loop import fine_search
from qir.search.ranking import Ranking
from qir.search.strategies import (
    BinarySearchStrategy,
    Flags,
    GreedyStrategy,
    MetricEval,
    Proposal,
    RefineStrategy,
    Strategy,
    strategy_named,
)

GOLDEN = Path(__file__).parents[1] / "data" / "amct" / "auto"
RANKING = "accuracy_based_auto_calibration_ranking_information.json"
HISTORY = "accuracy_based_auto_calibration_record.json"


class Asked:
    """Answers by a rule over the set of float layers and remembers what was asked."""

    def __init__(
        self,
        satisfied: Callable[[frozenset[str]], bool],
        loss: Callable[[frozenset[str]], float] | None = None,
    ) -> None:
        self.satisfied, self.loss, self.flags = satisfied, loss, list[Flags]()

    def __call__(self, flags: Flags) -> MetricEval:
        self.flags.append(dict(flags))
        ok = self.satisfied(floats(flags))
        return ok, float(not ok) if self.loss is None else self.loss(floats(flags))


def floats(flags: Mapping[str, bool]) -> frozenset[str]:
    return frozenset(name for name, quantized in flags.items() if not quantized)


def ranking(count: int) -> dict[str, float]:
    return {f"l{i}": i / max(count, 1) for i in range(count)}


def search(strategy: Strategy, count: int, asked: Asked) -> Flags | None:
    return fine_search(strategy, ranking(count), (False, 1.0), asked, floats_end=True)


@pytest.mark.parametrize("case", ["partial", "none"])
def test_binary_search_proposes_what_amct_proposes(case: str) -> None:
    scores = parse_ranking((GOLDEN / case / RANKING).read_text())
    text = (GOLDEN / case / HISTORY).read_text()
    first, *steps = parse_history(text)
    answers = iter(step.metric_eval for step in steps)
    history = [first]

    def evaluate(flags: Flags) -> MetricEval:
        history.append(HistoryEntry(dict(flags), next(answers)))
        return history[-1].metric_eval

    found = fine_search(BinarySearchStrategy(), scores, first.metric_eval, evaluate, floats_end=True)
    if case == "none":  # the driver adds the step in which every layer is float
        assert found is None
        history.append(HistoryEntry(dict.fromkeys(scores, False), next(answers)))
    else:
        assert found == steps[-1].flags
    assert print_history(history) == text


@pytest.mark.parametrize("case", ["pass", "partial", "none"])
def test_the_sensitivity_file_is_written_as_amct_writes_it(case: str) -> None:
    text = (GOLDEN / case / RANKING).read_text()
    assert print_ranking(Ranking(dict(reversed(parse_ranking(text).items())))) == text


def test_equal_scores_keep_their_order() -> None:
    asked = Asked(lambda gone: "b" in gone)
    found = fine_search(BinarySearchStrategy(), {"c": 1, "a": 0, "b": 0}, (False, 1), asked, floats_end=True)
    assert list(found or {}) == ["a", "b", "c"]
    assert floats(found or {}) == {"a", "b"}


@given(st.integers(1, 70), st.data())
def test_binary_search_finds_the_border_within_the_bound(count: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, count))
    asked = Asked(lambda gone: len(gone) >= needed)
    found = search(BinarySearchStrategy(), count, asked)
    distinct = {floats(flags) for flags in asked.flags}
    assert len(distinct) <= math.ceil(math.log2(count + 1))
    assert found is None if needed == count else floats(found or {}) == set(list(ranking(count))[:needed])
    assert frozenset(ranking(count)) not in distinct


def test_the_final_proposal_is_evaluated_again_unless_it_was_the_last() -> None:
    asked = Asked(lambda gone: len(gone) >= 2)
    search(BinarySearchStrategy(), 4, asked)
    assert [len(floats(f)) for f in asked.flags] == [2, 1, 2]
    asked = Asked(lambda gone: len(gone) >= 1)
    search(BinarySearchStrategy(), 4, asked)
    assert [len(floats(f)) for f in asked.flags] == [2, 1]


@given(st.integers(1, 30), st.data())
def test_greedy_takes_the_worst_one_by_one(count: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, count))
    asked = Asked(lambda gone: len(gone) >= needed)
    found = search(GreedyStrategy(), count, asked)
    assert [len(floats(f)) for f in asked.flags] == list(range(1, min(needed, count - 1) + 1))
    assert (found is None) == (needed == count)


@given(st.integers(2, 60), st.data())
def test_refine_gives_back_every_layer_that_is_not_needed(count: int, data: st.DataObject) -> None:
    layers = list(ranking(count))
    needed = data.draw(st.sets(st.sampled_from(layers[:-1]), min_size=1, max_size=4))
    asked = Asked(lambda gone: needed <= gone)
    found = search(RefineStrategy(budget=1000), count, asked)
    assert floats(found or {}) == needed
    distinct = {floats(flags) for flags in asked.flags}
    assert len(asked.flags) <= len(distinct) + 1, "only the result may be asked for again"
    bound = math.ceil(math.log2(count + 1)) + 2 * len(needed) * (1 + math.ceil(math.log2(count))) + 1
    bound += len(needed) - 1  # the prefixes of fewer layers
    assert len(distinct) <= bound


@given(st.integers(2, 60), st.integers(0, 5), st.data())
def test_refine_keeps_its_budget_and_is_never_worse(count: int, budget: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(list(ranking(count))[:-1]), min_size=1))

    def run(strategy: Strategy) -> tuple[frozenset[str], int]:
        asked = Asked(lambda gone: needed <= gone)
        found = search(strategy, count, asked)
        return floats(found or {}), len({floats(f) for f in asked.flags})

    (plain, cost), (refined, more) = run(BinarySearchStrategy()), run(RefineStrategy(budget))
    assert refined <= plain
    assert more <= cost + budget


def chaos(gone: frozenset[str], seed: int) -> int:
    """A number that has nothing to do with how many layers are in float."""
    return zlib.crc32(f"{seed} {sorted(gone)}".encode())


@given(st.integers(1, 40), st.integers(0, 9999), st.integers(2, 30))
def test_refine_never_leaves_more_layers_in_float_than_greedy(count: int, seed: int, one_in: int) -> None:
    def satisfied(gone: frozenset[str]) -> bool:
        return chaos(gone, seed) % one_in == 0

    def run(strategy: Strategy) -> tuple[int, Asked]:
        asked = Asked(satisfied, lambda gone: chaos(gone, seed + 1) / 2**32)
        found = search(strategy, count, asked)
        assert found is None or satisfied(floats(found))
        return count if found is None else len(floats(found)), asked

    greedy, _ = run(GreedyStrategy())
    thorough = RefineStrategy(budget=1000)
    assert run(thorough)[0] <= greedy
    assert thorough.note() == ""
    bounded = RefineStrategy()
    ended, asked = run(bounded)
    assert ended <= greedy or "Greedy" in bounded.note()
    assert ended <= run(BinarySearchStrategy())[0]
    distinct = {floats(flags) for flags in asked.flags}
    assert len(asked.flags) <= len(distinct) + 1
    assert len(distinct) <= 5 * math.ceil(math.log2(count + 1))


def prefix_of(gone: frozenset[str], count: int) -> int | None:
    """How many of the most sensitive layers these are; None when they are others."""
    return len(gone) if gone == set(list(ranking(count))[: len(gone)]) else None


@given(st.integers(16, 80), st.data())
def test_refine_sees_an_early_exception_in_its_default_budget(count: int, data: st.DataObject) -> None:
    """As on real models: a short prefix satisfies, longer ones do not, and the loss goes up and down."""
    early = data.draw(st.integers(1, 2 * count.bit_length()))
    late = data.draw(st.integers(count // 2 + 1, count - 1))

    def satisfied(gone: frozenset[str]) -> bool:
        return prefix_of(gone, count) == early or len(gone) >= late

    wave = data.draw(st.sampled_from([0.0, 0.2]))
    asked = Asked(satisfied, lambda gone: (0 if satisfied(gone) else 1) + wave * (len(gone) % 3))
    strategy = RefineStrategy()
    assert len(floats(search(strategy, count, asked) or {})) == min(early, late)
    assert strategy.note() == ""


def test_refine_gives_layers_back_behind_an_early_exception() -> None:
    """Longer prefixes have failed, which says nothing of parts of the shorter one that satisfies."""

    def satisfied(gone: frozenset[str]) -> bool:
        return len(gone) >= 50 or ({"l2", "l6"} <= gone and len(gone) <= 7)

    asked = Asked(satisfied, lambda gone: len(gone) / 60)
    assert floats(search(RefineStrategy(), 60, asked) or {}) == {"l2", "l6"}


def test_the_order_of_refine_is_that_of_the_losses() -> None:
    def first_after_binary_search(loss: Callable[[frozenset[str]], float]) -> int | None:
        asked = Asked(lambda gone: len(gone) >= 20, loss)
        search(RefineStrategy(), 40, asked)
        halving = [40 // 2, 10, 15, 17, 18, 19]
        assert [len(floats(flags)) for flags in asked.flags[:6]] == halving
        return prefix_of(floats(asked.flags[6]), 40)

    assert first_after_binary_search(lambda gone: 1 - len(gone) / 40) is None, "layers are given back"
    assert first_after_binary_search(lambda gone: 1 + len(gone) / 40) == 1, "the shortest prefix"


def test_refine_looks_below_before_all_layers_are_rolled_back() -> None:
    asked = Asked(lambda gone: prefix_of(gone, 30) == 6)
    assert search(BinarySearchStrategy(), 30, Asked(asked.satisfied)) is None
    assert len(floats(search(RefineStrategy(), 30, asked) or {})) == 6
    asked = Asked(lambda gone: len(gone) == 30)
    found = fine_search(RefineStrategy(), ranking(30), (False, 1.0), asked, floats_end=False)
    assert len(floats(found or {})) == 30


def test_refine_says_what_its_budget_did_not_allow() -> None:
    def satisfied(gone: frozenset[str]) -> bool:
        return prefix_of(gone, 40) == 9 or len(gone) >= 20

    strategy = RefineStrategy(budget=8)
    found = search(strategy, 40, Asked(satisfied, lambda gone: len(gone) / 40))
    assert len(floats(found or {})) == 20
    assert strategy.note().startswith("Refine has not tried all of the 5 to 16 most sensitive layers")
    search(strategy, 40, Asked(lambda gone: len(gone) >= 2))
    assert strategy.note() == ""


def test_binary_search_says_that_fewer_may_do() -> None:
    strategy = BinarySearchStrategy()
    search(strategy, 40, Asked(lambda gone: len(gone) >= 7))
    assert "fewer than 7 may do: strategy Refine" in strategy.note()
    search(strategy, 40, Asked(lambda gone: len(gone) >= 1))
    assert strategy.note() == ""


def test_binary_search_that_finds_nothing_says_whether_there_is_more_to_try() -> None:
    strategy = BinarySearchStrategy()
    assert search(strategy, 40, Asked(lambda gone: len(gone) == 3)) is None
    assert "numbers of layers that were not tried may do: strategy Refine looks for one" in strategy.note()
    assert search(strategy, 2, Asked(lambda gone: False)) is None
    assert strategy.note() == "", "1 of 2 was tried, and 2 of 2 are none"


def test_a_strategy_can_be_used_again() -> None:
    for strategy in (BinarySearchStrategy(), GreedyStrategy(), RefineStrategy()):
        runs = []
        for _ in range(2):
            asked = Asked(lambda gone: {"l1", "l4"} <= gone)
            search(strategy, 9, asked)
            runs.append(asked.flags)
        assert runs[0] == runs[1]


def test_the_layers_may_all_be_rolled_back_where_that_is_no_float_model() -> None:
    asked = Asked(lambda gone: len(gone) == 4)
    found = fine_search(BinarySearchStrategy(), ranking(4), (False, 1.0), asked, floats_end=False)
    assert floats(found or {}) == set(ranking(4))
    asked = Asked(lambda gone: False)
    assert fine_search(BinarySearchStrategy(), ranking(4), (False, 1.0), asked, floats_end=False) is None
    assert len(asked.flags) == 3


class Fixed(Strategy):
    """Always proposes the same thing."""

    def __init__(self, proposal: object) -> None:
        self.proposal = proposal

    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        pass

    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        return self.proposal  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("proposal", "said"),
    [
        (None, "must return"),
        ({"stop_flag": True}, "must return"),
        (
            {"stop_flag": False, "roll_back_config": {"l0": True, "l1": False, "I2": True}},
            "did you mean 'l2'",
        ),
        ({"stop_flag": False, "roll_back_config": {"l0": True, "l1": False}}, "says nothing of layer 'l2'"),
        ({"stop_flag": False, "roll_back_config": {"l0": True, "l1": False, "l2": True}}, "nothing new"),
    ],
)
def test_a_strategy_that_breaks_its_contract_is_told_so(proposal: object, said: str) -> None:
    with pytest.raises(SearchError, match=said):
        search(Fixed(proposal), 3, Asked(lambda gone: False))


class Raising(Fixed):
    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        raise KeyError("g0")


def test_a_strategy_that_raises_is_named() -> None:
    with pytest.raises(SearchError, match="update_quant_config of strategy Raising raised KeyError: 'g0'"):
        search(Raising(None), 3, Asked(lambda gone: False))


def test_strategies_by_name() -> None:
    assert isinstance(strategy_named("BinarySearch"), BinarySearchStrategy)
    mine = Fixed(None)
    assert strategy_named(mine) is mine
    with pytest.raises(ConfigError, match="did you mean 'BinarySearch'"):
        strategy_named("BinarySerach")
    with pytest.raises(
        RuntimeError, match="strategy is not inherited from base class AutoCalibrationStrategy"
    ):
        strategy_named(3)  # type: ignore[arg-type]
    assert issubclass(ContractError, RuntimeError)
    with pytest.raises(ConfigError, match="budget"):
        RefineStrategy(-1)
