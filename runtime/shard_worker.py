"""What a worker of a sharded calibration runs: a few units at a time, in one session that it keeps."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import parent_process

from qir.ir.files import data_beside
from qir.ir.parser import parse_graph
from qir.runtime.collect import Collector, Taps
from qir.runtime.measured import Arrays, Measured, Problem, packed
from qir.runtime.statistics import TensorStatistics
from qir.runtime.units import Unit


@dataclass(frozen=True)
class Job:
    """Units to measure in the graph of that key; `taps` bring it along (`pack_taps`)."""

    key: str
    units: tuple[Unit, ...]
    taps: bytes | None = None

    @property
    def where(self) -> str:
        """Its samples, for messages."""
        first, last = self.units[0].where, self.units[-1].where
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True)
class Answer:
    """What the units of a job told, as arrays."""

    units: int
    tensors: Mapping[str, Arrays]
    problems: Mapping[str, Problem]

    def measured(self) -> Measured:
        """The same as statistics."""
        result = Measured(())
        result.units = self.units
        result.tensors = {name: TensorStatistics.from_arrays(arrays) for name, arrays in self.tensors.items()}
        result.problems = dict(self.problems)
        return result


def pack_taps(taps: Taps) -> tuple[str, bytes]:
    """A graph with its taps as bytes, and their digest."""
    names = tuple(value.name for value in taps.values)
    content = (str(taps.graph), data_beside(taps.graph), names, taps.optional, dict(taps.layers))
    data = pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    return hashlib.blake2b(data, digest_size=16).hexdigest(), data


def _unpack_taps(data: bytes) -> Taps:
    text, constants, names, optional, layers = pickle.loads(data)
    graph = parse_graph(text, constants, "<calibration>")
    return Taps(graph, tuple(graph.value(name) for name in names), optional, layers)


def run_job(job: Job) -> Answer | None:
    """Measure the units of a job; None when this process lacks the graph and the job does not bring it.

    Errors are those of `collect`, of the first unit that has one.
    """
    collector = _workshop(job.key).collector(job.taps)
    if collector is None:
        return None
    state = collector.fresh()
    for unit in job.units:
        collector.measure_into(state, unit)
    return Answer(state.units, {n: packed(s) for n, s in state.tensors.items()}, state.problems)


class _Workshop:
    """The session for one graph, made by the first job that brings it; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collector: Collector | None = None

    def collector(self, taps: bytes | None) -> Collector | None:
        with self._lock:
            if self._collector is None and taps is not None:
                self._collector = Collector(_unpack_taps(taps))
            return self._collector


@lru_cache(maxsize=1)
def _workshop(key: str) -> _Workshop:  # noqa: ARG001 - what the cache goes by
    return _Workshop()


def forget_graphs() -> None:
    """Give back the memory of the session that this process keeps."""
    _workshop.cache_clear()


def start_process() -> None:
    """Prepare a worker process of our own: it ends at once when its parent is gone.

    Ctrl-C reaches all processes of a terminal; the parent alone decides what comes of it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
