"""Runs a function over a stream in several threads and gives the results in the order of the stream."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_MOST = 16
POOL = "qir"
"""With what the names of threads that run a map begin."""


def cores() -> int:
    """Cores that this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST)


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int, stop: Callable[[], None]
) -> Generator[R, None, None]:
    """Results of `function` for all `items`, in their order; at most 2 * `workers` items are under way.

    The first error in the order of the items is raised, whichever thread comes to it first. `items` is read
    in the calling thread. `stop` is called when the run ends early, by an error or by Ctrl-C: it should
    make calls under way return soon.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=POOL)
    finished = False
    try:
        failure: Exception | None = None
        stream = iter(items)
        while True:
            try:
                item = next(stream)
            except StopIteration:
                break
            except Exception as error:  # the items before it come first, and may fail too
                failure = error
                break
            pending.append(pool.submit(function, item))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
        finished = True
    finally:
        if not finished:
            stop()
        pool.shutdown(wait=True, cancel_futures=True)
