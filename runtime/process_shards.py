"""Worker processes of our own on this machine; those that die are replaced, and their work is done again."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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
        self._context = multiprocessing.get_context("spawn")
        self._open()

    def _open(self) -> None:
        self._stop = self._context.Event()
        self._pool = ProcessPoolExecutor(
            self.count, self._context, initializer=start_process, initargs=(self._stop,)
        )

    def __enter__(self) -> ProcessShards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Job) -> Future[Answer | None]:
        """Run a job in one of the processes."""
        return self._pool.submit(run_job, job)

    def is_lost(self, error: Exception) -> bool:
        """True when a process has died; the pool is then of no use any more."""
        return isinstance(error, BrokenProcessPool)

    def recover(self, error: Exception, where: str) -> None:
        """A new pool, a few times; CalibrationError then."""
        self._stop.set()
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
        self._stop.set()
