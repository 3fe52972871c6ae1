"""The float model's outputs on the first samples, recorded beside the passes that work on a copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait
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


def record_reference(
    original: Graph, ours: bool, data: CalibrationData | None, proof_samples: int, beside: Executor
) -> Reference:
    """Read the first samples, at least `proof_samples` of them, in the thread of the caller, and run them.

    The model runs in `beside`, to the end at once if it is large. A graph that is `ours` is released as soon
    as its session is open: passes must have their copy by now.
    """
    size = sum(v.constant.data.nbytes for v in original.constants if v.constant is not None)
    if data is None:
        return Reference((), None, size)
    model = _Model(original, ours)
    try:
        units = first_units(data, max(proof_samples, COMPARED_UNITS), model.run)
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

    def open(self) -> Session:
        """The session."""
        if self._session is None:
            self._session = Session(self._graph, threads=1, shared=True)
            if self._ours:
                self._graph.release()
        return self._session
