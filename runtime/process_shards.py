"""Worker processes of our own on this machine; those that die are replaced, and their work is done again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType

from qir.ir.errors import CalibrationError, ConfigError
from qir.runtime.shard_worker import Answer, Job, run_job, start_process

_RECOVERIES = 3
"""Times that a run gets new processes before it gives up."""


class ProcessShards:
    """So many spawned processes, as a context manager. Each runs one session without threads."""

    def __init__(self, count: int) -> None:
        """ConfigError unless `count` is at least 1. Processes start with the first job."""
        if count < 1:
            raise ConfigError(f"workers must be at least 1, not {count}")
        self.count = count
        self._recoveries = 0
        self._open()

    def _open(self) -> None:
        self._spawned = _Spawned()
        self._pool = ProcessPoolExecutor(self.count, self._spawned, initializer=start_process)

    def __enter__(self) -> ProcessShards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Job) -> Future[Answer | None]:
        """Run a job in one of the processes."""
        with _interrupts_later():  # a process may start here
            return self._pool.submit(run_job, job)

    def is_lost(self, error: Exception) -> bool:
        """True when a process has died; the pool is then of no use any more."""
        return isinstance(error, BrokenProcessPool)

    def recover(self, error: Exception, where: str) -> None:
        """A new pool, a few times; CalibrationError then."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._recoveries += 1
        if self._recoveries > _RECOVERIES:
            raise CalibrationError(
                f"{where}: worker processes have died {self._recoveries} times, here or at the samples "
                "behind. Look for want of memory, or for samples that crash ONNX Runtime; a script that "
                'calibrates with workers does so under `if __name__ == "__main__":`'
            ) from error
        self._open()

    def stop(self) -> None:
        """End the processes at once."""
        self._spawned.end()


class _Spawned(SpawnContext):
    """Starts processes afresh and remembers them, to end them even while they import their modules."""

    def __init__(self) -> None:
        super().__init__()
        self._processes: list[SpawnProcess] = []

    def Process(  # type: ignore[override]  # noqa: N802 - what the executor calls
        self, *, target: Callable[..., object], args: tuple[object, ...]
    ) -> SpawnProcess:
        """A process that the executor is about to start."""
        process = SpawnProcess(target=target, args=args)
        self._processes.append(process)
        return process

    def end(self) -> None:
        """End those that run."""
        for process in self._processes:
            if process.pid is not None:
                process.terminate()


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C back for the block, and from processes that start in it.

    Ctrl-C reaches all processes of a terminal. One that is loading Python would answer with a traceback, and
    so would one whose start the parent breaks off; what becomes of it the parent alone decides.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    kept: list[int] = []
    handler = signal.getsignal(signal.SIGINT)  # None: not one of Python's
    ours = handler is not None and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, lambda number, _frame: kept.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process keeps the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if ours:
            signal.signal(signal.SIGINT, handler)
        if kept:
            signal.raise_signal(signal.SIGINT)
