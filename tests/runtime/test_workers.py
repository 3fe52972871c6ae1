"""The ordered map over threads: order, bounded look-ahead, first error, early end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from qir.runtime.workers import ordered_map


def nothing() -> None:
    """A stop that has nothing to stop."""


def slow_first(i: int) -> int:
    time.sleep(0.02 if i % 4 == 0 else 0)
    return i * i


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers: int) -> None:
    assert list(ordered_map(slow_first, range(20), workers, nothing)) == [i * i for i in range(20)]


def test_look_ahead_is_bounded() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    results = ordered_map(slow_first, items(), 2, nothing)
    for done in range(1, 50):
        next(results)
        assert len(taken) <= done + 4
    results.close()


def test_the_first_error_in_order_wins() -> None:
    stopped: list[bool] = []

    def fails(i: int) -> int:
        time.sleep(0.05 if i == 3 else 0)
        if i in (3, 4, 5):
            raise ValueError(i)
        return i

    with pytest.raises(ValueError, match="3"):
        list(ordered_map(fails, range(20), 4, lambda: stopped.append(True)))
    assert stopped == [True]


def test_an_error_of_the_items_comes_after_what_was_before() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("end")

    found: list[int] = []
    with pytest.raises(OSError, match="end"):
        found.extend(ordered_map(slow_first, items(), 3, nothing))
    results = ordered_map(slow_first, items(), 3, nothing)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
