"""The float model's outputs on the first samples, recorded beside the passes that work on a copy of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from qir.backends.inspection import LARGE
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.runtime.arena import shrink_shared_arena
from qir.runtime.compare import Recording, first_units, record_outputs
from qir.runtime.memory import return_freed_memory
from qir.runtime.session import Feeds, Session
from qir.runtime.units import Array, CalibrationData, Unit

COMPARED_UNITS = 8
"""Samples on which float and fake-quant outputs are compared for the report: enough to tell a good result
from a bad one, to a decibel or so, at a tenth of the time that calibration takes."""


@dataclass(frozen=True)
class Reference:
    """The first samples, and what the float model returns for them, which may still be under way.

    Without data there are no samples and no recording. `size` is that of the model's constants in bytes.
    `failure` is why the model or the samples cannot be read: to be raised once passes, which may know better
    what is wrong, have found nothing.
    """

    units: Sequence[Unit]
    recording: Future[Recording] | None
    size: int
    failure: QirError | None = None


@contextlib.contextmanager
def recorded_reference(
    original: Graph, ours: bool, data: CalibrationData | None, proof_samples: int
) -> Iterator[Reference]:
    """The reference on the first samples, at least `proof_samples` of them; they stop when the body fails.

    Samples are read in the thread of the caller. The model runs beside it, or to the end at once if it is
    large. A graph that is `ours` is released as soon as its session is open: passes must have their copy by
    now.
    """
    model = _Model(original, ours)
    with ThreadPoolExecutor(1) as beside:
        try:
            yield _begun(model, data, max(proof_samples, COMPARED_UNITS), beside)
        except BaseException:
            model.stop()
            raise


def _begun(model: _Model, data: CalibrationData | None, limit: int, beside: Executor) -> Reference:
    size = model.size
    if data is None:
        return Reference((), None, size)
    try:
        units = first_units(data, limit, model.run)
        model.open()  # not beside the passes, which make further copies of the weights
    except QirError as error:
        return Reference((), None, size, error)
    recording = beside.submit(model.record, units)
    if size > LARGE:
        wait([recording])
    return Reference(units, recording, size)


class _Model:
    """The float model, opened in ONNX Runtime when it is first needed."""

    def __init__(self, graph: Graph, ours: bool) -> None:
        self.size = sum(v.constant.data.nbytes for v in graph.constants if v.constant is not None)
        self._graph, self._ours = graph, ours
        self._session: Session | None = None

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The outputs for one feed."""
        session = self.open()
        return session.run(feeds, session.outputs)

    def record(self, units: Sequence[Unit]) -> Recording:
        """The outputs for some units; closes the session."""
        recording = record_outputs(self.open(), units)
        self._session = None
        shrink_shared_arena()
        return_freed_memory()
        return recording

    def stop(self) -> None:
        """Make the runs under way fail soon."""
        session = self._session
        if session is not None:
            session.stop()

    def open(self) -> Session:
        """The session."""
        if self._session is None:
            self._session = Session(self._graph, threads=1, shared=True)
            if self._ours:
                self._graph.release()
        return self._session
