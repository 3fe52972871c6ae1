"""Worker processes and Ctrl-C: it ends them wherever they are, and never makes them say anything."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import active_children

import pytest

from qir.runtime.process_shards import ProcessShards
from qir.runtime.shard_worker import Job


def test_processes_that_are_starting_end_at_once() -> None:
    others = set(active_children())
    shards = ProcessShards(2)
    with suppress(KeyboardInterrupt), shards:
        futures = [shards.submit(Job("", (), b"no graph")) for _ in range(2)]  # fails if it is ever run
        processes = set(active_children()) - others
        raise KeyboardInterrupt
    assert processes
    assert {process.exitcode for process in processes} == {-signal.SIGTERM}
    assert all(future.exception() is not None for future in futures)


@pytest.fixture
def _heard() -> Iterator[None]:
    """Shells start what runs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signals to mask")
@pytest.mark.usefixtures("_heard")
def test_ctrl_c_waits_for_a_process_to_start_and_leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []
    interrupted = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on')"

    def submit(_self: ProcessPoolExecutor, _function: object, _job: Job) -> Future[None]:
        signal.raise_signal(signal.SIGINT)
        said.append(subprocess.check_output([sys.executable, "-c", interrupted]).strip())
        return Future()

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), ProcessShards(1) as shards:
        shards.submit(Job("", ()))
    assert said == [b"goes on"]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
