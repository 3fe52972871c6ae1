"""Sharded calibration: the same bytes from any workers, also when some die; the errors of one process."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from small_graphs import conv_net, images

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.fingerprint import fingerprint_of
from qir.ir.graph import Graph
from qir.ir.types import tensor
from qir.runtime.collect import Taps, collect
from qir.runtime.dask_shards import DaskShards
from qir.runtime.data import open_data
from qir.runtime.kernels.jit import COMPILER
from qir.runtime.measured import Measured
from qir.runtime.process_shards import ProcessShards
from qir.runtime.shard_worker import Job
from qir.runtime.sharding import ExecutorShards, Shards, collect_sharded
from qir.runtime.statistics_file import Statistics

X = images(40)


def taps_of(graph: Graph, *names: str, optional: frozenset[str] = frozenset()) -> Taps:
    return Taps(graph, tuple(graph.value(name) for name in names), optional)


def content(measured: Measured, graph: Graph, folder: Path) -> bytes:
    Statistics.of(measured, fingerprint_of(graph), None).save(folder / "stats.npz")
    return (folder / "stats.npz").read_bytes()


def assert_serial(shards: Shards, source: object, folder: Path) -> None:
    graph = conv_net()
    taps, data = taps_of(graph, "r", "x", "c2"), open_data(source, graph)  # type: ignore[arg-type]
    expected = content(collect(taps, open_data({"x": X}, graph)), graph, folder)
    assert content(collect_sharded(shards, taps, data), graph, folder) == expected


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_threads_of_an_executor(batch: int, tmp_path: Path) -> None:
    feeds = [{"x": X[i : i + batch]} for i in range(0, 40, batch)]
    with ThreadPoolExecutor(3) as executor:
        assert_serial(ExecutorShards(executor, 3), feeds, tmp_path)


class Watched(Executor):
    """Runs jobs at once, as if each were pickled to a process; counts those under way."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, function, job, /):  # type: ignore[no-untyped-def, override]
        self.jobs.append(job)
        future: Future[object] = Future()
        try:
            future.set_result(pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(job))))))
        except Exception as error:
            future.set_exception(error)
        return future


def test_jobs_are_few_and_the_graph_goes_to_those_who_lack_it(tmp_path: Path) -> None:
    executor = Watched()
    assert_serial(ExecutorShards(executor, 2), {"x": X}, tmp_path)
    brought = [job for job in executor.jobs if job.taps is not None]
    units = [unit.index for job in executor.jobs if job.taps is None for unit in job.units]
    assert sorted(units) == list(range(40))
    assert max(len(job.units) for job in executor.jobs) == 5  # 40 // (4 * 2)
    assert 1 <= len(brought) <= 4  # those that were under way before the first graph came


def log_net() -> Graph:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    relu = graph.add("Relu", [x], outputs=["a"], name="first")
    graph.add_output(graph.add("Log", [relu.output], outputs=["b"], name="second").output)
    return graph


def test_errors_are_those_of_one_process() -> None:
    graph, x = log_net(), np.ones((50, 4), np.float32)
    x[[17, 18, 31], 1] = 0
    for taps in (taps_of(graph, "b", "a"), taps_of(graph, "b", "a", optional=frozenset({"b"}))):
        found: list[object] = []
        for run in (collect, lambda t, d: collect_sharded(ExecutorShards(Watched(), 2), t, d)):
            try:
                measured = run(taps, open_data({"x": x}, graph))
                found.append((measured.problems, list(measured.tensors), measured.units))
            except CalibrationError as error:
                found.append((str(error), error.__cause__ is error))  # a cycle would hold up who follows it
        assert found[0] == found[1]
        assert "sample 17: tensor 'b'" in str(found[0])


def test_a_source_that_raises_comes_after_the_samples_before_it() -> None:
    graph, x = log_net(), np.ones((6, 4), np.float32)

    def feeds(bad: int) -> Iterator[dict[str, np.ndarray]]:
        for i in range(6):
            yield {"x": x[i : i + 1] * (i != bad)}
        raise OSError("disk gone")

    shards = ExecutorShards(Watched(), 2)
    with pytest.raises(CalibrationError, match=r"raised OSError: disk gone \(after 6 feeds\)"):
        collect_sharded(shards, taps_of(graph, "b"), open_data(lambda: feeds(9), graph))
    with pytest.raises(CalibrationError, match="sample 5: tensor 'b'"):
        collect_sharded(shards, taps_of(graph, "b"), open_data(lambda: feeds(5), graph))


class Broken(Watched):
    def submit(self, function, job, /):  # type: ignore[no-untyped-def, override]
        if len(self.jobs) == 3:
            raise BrokenExecutor("a process died")
        return super().submit(function, job)


def test_an_executor_that_breaks() -> None:
    graph = conv_net()
    message = (
        r"sample \d+ to sample \d+: the executor has lost its workers \(BrokenExecutor: a process died\)"
    )
    with pytest.raises(CalibrationError, match=message):
        collect_sharded(ExecutorShards(Broken(), 2), taps_of(graph, "r"), open_data({"x": X}, graph))


def test_exact_modes_stay_in_one_process() -> None:
    graph = conv_net()
    taps = Taps(graph, (graph.value("r"),), raw=frozenset({"r"}))
    with pytest.raises(CalibrationError, match="exact modes"):
        collect_sharded(ExecutorShards(Watched()), taps, open_data({"x": X}, graph))


def comes_true(condition: Callable[[], bool]) -> bool:
    """Wait for what other threads do, as long as the busiest machine may take."""
    for _ in range(6000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def killing(pids: Callable[[], list[int]], at: int) -> Iterator[dict[str, np.ndarray]]:
    """The samples; on the way, one of the workers is killed, and those who started it have seen it."""
    for i in range(40):
        if i == at:
            kill(pids()[0])
        yield {"x": X[i : i + 1]}


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert comes_true(lambda: not exists(pid))


def exists(pid: int) -> bool:
    """Whether the process runs, or has ended and its parent has not asked how."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_that_die_are_replaced(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with ProcessShards(2) as shards:
        assert_serial(shards, lambda: killing(lambda: list(shards._pool._processes), 33), tmp_path)
        assert shards._recoveries == 1
        processes = list(shards._pool._processes.values())
    assert not any(process.is_alive() for process in processes)
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name != COMPILER] == []


def test_processes_that_die_again_and_again() -> None:
    with ProcessShards(2) as shards:
        for _ in range(3):
            shards.recover(BrokenExecutor(), "sample 3")
        with pytest.raises(CalibrationError, match=r"^sample 3: worker processes have died 4 times"):
            shards.recover(BrokenExecutor(), "sample 3")
    with pytest.raises(ConfigError, match="at least 1, not 0"):
        ProcessShards(0)


def test_a_dask_cluster_whose_worker_is_killed(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra qir[dask] is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        pids = lambda: [nanny.pid for nanny in cluster.workers.values()]  # noqa: E731
        first = pids()
        with DaskShards(cluster.scheduler_address) as shards:
            assert shards.count == 2
            assert_serial(shards, lambda: killing(pids, 33), tmp_path)
        assert comes_true(lambda: first[0] not in pids())


def test_a_dask_cluster_that_is_not_there() -> None:
    pytest.importorskip("distributed", reason="the extra qir[dask] is not installed")
    with pytest.raises(ConfigError, match="no dask scheduler answers at 'nonsense://x'"):
        DaskShards("nonsense://x")


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'qir\[dask\]'"):
        DaskShards("tcp://localhost:1")
