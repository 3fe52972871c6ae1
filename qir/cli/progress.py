"""Shows progress with rich: a bar with ETA per task on stderr; nothing when stderr is no terminal.

What the work has cost in the end, time by task and memory, is a line for the summary of a command.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from qir.runtime.memory import peak_memory


class RichTask:
    """One bar; `seconds` gets the time that it took, beside that of earlier bars of its label."""

    def __init__(self, display: Progress, label: str, total: int | None, seconds: dict[str, float]) -> None:
        self._display, self._label, self._seconds = display, label, seconds
        self._start = time.perf_counter()
        self._id = display.add_task(label, total=total)

    def __enter__(self) -> RichTask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            task = self._display.tasks[self._display.task_ids.index(self._id)]
            done = max(task.completed, 1)  # nothing to count may be finished too
            self._display.update(self._id, total=done, completed=done)
        self._display.stop_task(self._id)
        took = time.perf_counter() - self._start
        self._seconds[self._label] = self._seconds.get(self._label, 0.0) + took

    def advance(self, count: int = 1) -> None:
        """Another `count` steps are done."""
        self._display.advance(self._id, count)


class RichProgress:
    """A display of all tasks; use it as a context manager around the work."""

    def __init__(self, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._display = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> RichProgress:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._display.stop()

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bars."""
        self._display.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def task(self, label: str, total: int | None) -> RichTask:
        """A new bar of `total` steps (None: unknown) called `label`."""
        return RichTask(self._display, label, total, self._seconds)

    def cost(self) -> str:
        """How long the work took so far, and its tasks, and the peak of memory: a line to print."""
        tasks = ", ".join(f"{label} {seconds:.1f} s" for label, seconds in self._seconds.items())
        total = time.perf_counter() - self._start
        return f"took {total:.1f} s{f' ({tasks})' if tasks else ''}, peak memory {peak_memory() / 1e6:.0f} MB"
