"""The one interface by which long work tells how far it is; silent unless a caller brings a display."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol


class Task(Protocol):
    """One piece of work under way; a context manager, so that a display is taken down whatever happens."""

    def __enter__(self) -> Task: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def advance(self, count: int = 1) -> None:
        """Another `count` steps are done."""


class Progress(Protocol):
    """Opens tasks; called from one thread only."""

    def task(self, label: str, total: int | None) -> Task:
        """Work of `total` steps (None: unknown) called `label`."""


class SilentTask:
    """A task that shows nothing."""

    def __enter__(self) -> SilentTask:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def advance(self, count: int = 1) -> None:
        """Show nothing."""


class SilentProgress:
    """The default: no output at all."""

    def task(self, label: str, total: int | None) -> SilentTask:  # noqa: ARG002 - the interface's names
        """A task that shows nothing."""
        return SilentTask()


SILENT = SilentProgress()
