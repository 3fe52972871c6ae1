"""Calibration sharded over processes or machines: jobs of a few units go out, mergeable statistics return.

Units are canonical and every session runs with one thread, so that the result is that of a serial run to the
bit, whichever worker takes which unit, and when.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.runtime.collect import Taps
from qir.runtime.measured import Measured
from qir.runtime.progress import SILENT, Progress
from qir.runtime.session import Session
from qir.runtime.shard_worker import Answer, Job, forget_graphs, pack_taps, run_job
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores

_MOST_UNITS = 32
_MOST_BYTES = 8 << 20
"""Of the feeds in one job, one unit at least: few jobs to merge, and little to hold or send again."""
_JOBS_EACH = 4
"""Jobs for each worker at least where there are enough samples, so that none waits long for the others."""


class Shards(Protocol):
    """Workers that take jobs. `count` says how many; twice as many jobs are under way."""

    @property
    def count(self) -> int:
        """Number of workers."""

    def submit(self, job: Job) -> Future[Answer | None]:
        """Run `run_job` somewhere."""

    def is_lost(self, error: Exception) -> bool:
        """Whether an error of a job says that its worker has gone, rather than that the job failed."""

    def recover(self, error: Exception, where: str) -> None:
        """Be ready again, with all earlier jobs done or lost; CalibrationError naming samples if hopeless."""

    def stop(self) -> None:
        """Give up what is under way."""


class ExecutorShards:
    """The workers of an executor that the caller owns; `count` defaults to one per core of this machine."""

    def __init__(self, executor: Executor, count: int | None = None) -> None:
        self._executor = executor
        self._pending: list[Future[Answer | None]] = []
        self.count = cores() if count is None else count

    def submit(self, job: Job) -> Future[Answer | None]:
        """Submit to the executor."""
        future = self._executor.submit(run_job, job)
        self._pending = [*(f for f in self._pending if not f.done()), future]
        return future

    def is_lost(self, error: Exception) -> bool:
        """True for what executors raise when a worker dies (dask: too often)."""
        return isinstance(error, (BrokenExecutor, CancelledError)) or type(error).__name__ == "KilledWorker"

    def recover(self, error: Exception, where: str) -> None:
        """What the executor could not do is not tried again."""
        raise CalibrationError(
            f"{where}: the executor has lost its workers ({type(error).__name__}: {error}); look at why they "
            f"died, for example for want of memory, and calibrate with a fresh executor"
        ) from error

    def stop(self) -> None:
        """Cancel the jobs that have not begun."""
        for future in self._pending:
            future.cancel()


@dataclass
class _Pending:
    """A job under way."""

    job: Job
    future: Future[Answer | None]


def collect_sharded(
    shards: Shards, taps: Taps, data: CalibrationData, progress: Progress | None = None
) -> Measured:
    """What `collect` finds, found by workers. Errors are the same; of several, that of the first sample.

    CalibrationError also when workers die again and again. Memory: two jobs for each worker.
    """
    if taps.raw:
        raise CalibrationError("exact modes keep all values in one process: leave out workers and executors")
    if not taps.values:
        return Measured(())
    key, packed = pack_taps(taps)
    measured = Measured(())
    display = SILENT if progress is None else progress
    with display.task("calibrate", data.total) as task:
        for answer in _answers(shards, _jobs(key, taps.graph, data, shards.count), packed):
            measured = Measured.merge(measured, answer.measured())
            task.advance(answer.units)
    forget_graphs()
    return measured


def _jobs(key: str, graph: Graph, data: CalibrationData, workers: int) -> Iterator[Job]:
    """The units of the data, several in a job."""
    units: list[Unit] = []
    failure: Exception | None = None
    size = 0
    stream = data.units(_Model(graph).run)
    while True:
        try:
            unit = next(stream, None)
        except Exception as error:  # the units before it come first, and may fail too
            unit, failure = None, error
        if unit is None:
            break
        units.append(unit)
        size += sum(array.nbytes for array in unit.feeds.values())
        share = _MOST_UNITS if data.total is None else data.total // (_JOBS_EACH * workers)
        if size >= _MOST_BYTES or len(units) >= min(max(share, 1), _MOST_UNITS):
            yield Job(key, tuple(units))
            units, size = [], 0
    if units:
        yield Job(key, tuple(units))
    if failure is not None:
        raise failure


class _Model:
    """Runs a graph in this process, loaded when it is first asked for: few data need that."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._session: Session | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for one feed."""
        if self._session is None:
            self._session = Session(self._graph, threads=1)
        return self._session.run(feeds)


def _answers(shards: Shards, jobs: Iterator[Job], taps: bytes) -> Iterator[Answer]:
    """The answers to all jobs, in their order; the first error in that order is raised."""
    pending: deque[_Pending] = deque()
    failure: Exception | None = None
    finished = False
    try:
        while True:
            try:
                job = next(jobs)
            except StopIteration:
                break
            except Exception as error:  # the jobs before it come first, and may fail too
                failure = error
                break
            pending.append(_Pending(job, _submitted(shards, job)))
            if len(pending) >= 2 * shards.count:
                yield _first(shards, pending, taps)
        while pending:
            yield _first(shards, pending, taps)
        if failure is not None:
            raise failure
        finished = True
    finally:
        if not finished:
            shards.stop()


def _submitted(shards: Shards, job: Job) -> Future[Answer | None]:
    """The future of a job; a failed one where the workers are known to be lost."""
    try:
        return shards.submit(job)
    except Exception as error:
        if not shards.is_lost(error):
            raise
        failed: Future[Answer | None] = Future()
        failed.set_exception(error)
        return failed


def _first(shards: Shards, pending: deque[_Pending], taps: bytes) -> Answer:
    """The answer to the first job, which is sent again when its worker was lost or lacked the graph."""
    while True:
        first = pending[0]
        try:
            answer = first.future.result()
        except Exception as error:
            if not shards.is_lost(error):
                _raise_explained(error, first.job)
            shards.recover(error, first.job.where)
            for entry in pending:
                lost = entry.future.exception() if entry.future.done() else None
                if isinstance(lost, Exception) and shards.is_lost(lost):
                    entry.future = _submitted(shards, entry.job)
            continue
        if answer is not None:
            pending.popleft()
            return answer
        first.job = replace(first.job, taps=taps)
        first.future = _submitted(shards, first.job)


def _raise_explained(error: Exception, job: Job) -> NoReturn:
    """Raise an error of a worker, as itself unless its cure is elsewhere."""
    if isinstance(error, ImportError):
        raise CalibrationError(
            f"{job.where}: a worker cannot import qir ({error}); install it there too"
        ) from error
    raise error
