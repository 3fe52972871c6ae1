"""Calibration: one streaming run of a graph over data, which leaves the statistics of chosen values."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeAlias

import numpy as np

from qir.ir.errors import CalibrationError, QirError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant, unquantized
from qir.runtime.arena import shrink_shared_arena
from qir.runtime.kernels import ranges
from qir.runtime.measured import Measured, Problem
from qir.runtime.memory import return_freed_memory
from qir.runtime.progress import SILENT, Progress
from qir.runtime.segmented import SegmentedSession
from qir.runtime.units import Array, CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

logger = logging.getLogger(__name__)

OnOutputs: TypeAlias = Callable[[Unit, Mapping[str, Array]], None]
"""Takes a unit and the outputs of the graph for it, by name."""

_TAPPED_BYTES = 256 << 20
"""Tapped tensors that all workers together may hold at a time; one unit at a time is always possible."""


@dataclass(frozen=True)
class Taps:
    """What to measure in a graph: values (a quant's result stands for the float value behind it).

    Values named in `optional` may be other than finite floats, and then have a problem in place of
    statistics; for all others that is an error. Of those in `raw` all elements are kept. `layers` are those
    to leave in float as a cure, by value.
    """

    graph: Graph
    values: tuple[Value, ...]
    optional: frozenset[str] = frozenset()
    raw: frozenset[str] = frozenset()
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)


def collect(
    taps: Taps,
    data: CalibrationData,
    progress: Progress | None = None,
    workers: int | None = None,
    on_outputs: OnOutputs | None = None,
) -> Measured:
    """What one run over all of `data` tells of the tapped values.

    The graph runs unit by unit, in segments without threads of their own, several units at a time
    (`workers`: at most so many, by default one per core). Which worker takes which unit does not show:
    statistics merge exactly. Memory beyond that of inference: the tapped tensors of one segment of each unit
    under way, whatever the number of samples. `on_outputs` gets each unit and what the graph returned for
    it, in their order and in the thread that calls. Raises CalibrationError for NaN or infinite values,
    naming the first sample and its first tensor in running order, for values that are no float tensors, and
    for data that do not fit.
    """
    if not taps.values:
        return Measured(())
    ranges.prefetch()
    collector = Collector(taps)
    display = SILENT if progress is None else progress
    units = data.units(collector.run)
    first = next(units)
    with display.task("calibrate", data.total) as task:
        first_run = collector.measure(first)
        fitting = max(1, _TAPPED_BYTES // max(first_run.tapped, 1))
        count = min(cores() if workers is None else workers, fitting)
        logger.debug("calibration taps %d bytes at a time; %d workers", first_run.tapped, count)
        others = ordered_map(collector.measure, units, count, collector.stop)
        for run in itertools.chain([first_run], others):
            task.advance()
            if on_outputs is not None:
                on_outputs(run.unit, run.outputs)
    states = collector.states
    del collector
    shrink_shared_arena()
    return_freed_memory()  # before merging, which needs some
    return functools.reduce(Measured.merge, states)


class UnitRun(NamedTuple):
    """What the run of a unit leaves beside its statistics."""

    unit: Unit
    outputs: Mapping[str, Array]
    tapped: int  # bytes of tapped tensors, of those that exist at a time


class Collector:
    """A graph in segments with taps, and one set of statistics per worker."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps
        self._sources = _in_running_order(taps.graph, taps.values)
        self._readers: dict[str, list[str]] = {}  # the names under which a float value is measured
        for name, source in self._sources.items():
            self._readers.setdefault(source.name, []).append(name)
        self._session = SegmentedSession(taps.graph, tuple(self._sources.values()))
        self.states: list[Measured] = []  # which together are what was measured
        self._idle: SimpleQueue[Measured] = SimpleQueue()
        self.run, self.stop = self._session.run, self._session.stop

    def fresh(self) -> Measured:
        """Nothing measured so far."""
        return Measured(self._sources, self._taps.raw)

    def measure(self, unit: Unit) -> UnitRun:
        """Run one unit and take its tensors in."""
        try:
            state = self._idle.get_nowait()
        except Empty:
            state = self.fresh()
            self.states.append(state)
        run = self.measure_into(state, unit)
        self._idle.put(state)
        return run

    def measure_into(self, state: Measured, unit: Unit) -> UnitRun:
        """Run one unit and let `state`, which no other thread uses, take its tensors in."""
        most, outputs = 0, dict[str, Array]()
        for tensors in _of_unit(self._session.stages(unit.feeds, outputs), unit):
            most = max(most, sum(array.nbytes for array in tensors.values()))
            for source in tuple(tensors):
                array = tensors.pop(source)
                for name in self._readers[source]:
                    self._take(state, name, array, unit)
                del array  # given back to the arena as soon as it is measured
        state.units += 1
        return UnitRun(unit, outputs, most)

    def _take(self, state: Measured, name: str, array: Array, unit: Unit) -> None:
        if name in state.problems:
            return
        try:
            if array.dtype.kind != "f":
                raise CalibrationError(_not_float(self._sources[name], array.dtype.name))
            try:
                state.tensors[name].update(array, sample=unit.index)
            except CalibrationError as error:
                message = _not_finite(self._sources[name], unit, str(error), self._taps.layers.get(name))
                raise CalibrationError(message) from error
        except CalibrationError as error:
            if name not in self._taps.optional:
                raise
            state.note(name, Problem(unit.index, str(error)))


def _of_unit(stages: Iterator[dict[str, Array]], unit: Unit) -> Iterator[dict[str, Array]]:
    """The stages of a run; where one fails, the error says in which unit, and what the shapes were."""
    try:
        yield from stages
    except QirError as error:
        fed = ", ".join(f"'{name}' {list(array.shape)}" for name, array in unit.feeds.items())
        raise CalibrationError(f"{unit.where}: {error}; its inputs are {fed}") from error


def _in_running_order(graph: Graph, values: Sequence[Value]) -> dict[str, Value]:
    """The float values behind `values` by the names given, inputs first; CalibrationError for other types."""
    order: dict[Node | None, int] = {node: i for i, node in enumerate(graph.nodes)}
    sources = {value.name: unquantized(value) for value in values}
    for source in sources.values():
        dtype = source.tensor.dtype
        if source.constant is not None:
            raise CalibrationError(f"'{source.name}' is a constant; its range needs no calibration")
        if dtype is not None and (not dtype.is_float or dtype.numpy is None):
            raise CalibrationError(_not_float(source, dtype.value))
    return dict(sorted(sources.items(), key=lambda item: (order.get(item[1].producer, -1), item[1].index)))


def _described(source: Value) -> str:
    if source.producer is None:
        return f"input '{source.name}'"
    return f"tensor '{source.name}', made by node '{source.producer.name}' ({source.producer.op}),"


def _not_float(source: Value, dtype: str) -> str:
    return (
        f"{_described(source)} is {dtype}; only float16, float32 and float64 tensors can be calibrated: "
        f"leave the layers that read it in float"
    )


def _not_finite(source: Value, unit: Unit, problem: str, layers: Sequence[str] | None) -> str:
    for name, array in unit.feeds.items():
        bad = 0 if array.dtype.kind != "f" else array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            feed = f"input '{name}' holds {bad} of {array.size}"
            effect = "" if source.name == name else f" (noticed in {_described(source).rstrip(',')})"
            return f"{unit.where}: {feed} values that are NaN or infinite{effect}; repair or drop the sample"
    readers = ", ".join(f"'{name}'" for name in (_layers_reading(source) if layers is None else layers))
    cure = f"leave what reads it in float ({readers})" if readers else "leave what reads it in float"
    return (
        f"{unit.where}: {_described(source)} is not finite though the inputs are: {problem}; {cure}, "
        f"or repair the model or the sample"
    )


def _layers_reading(source: Value) -> list[str]:
    """The layers that read a quant of `source`."""
    quants = [use.node for use in source.uses if is_quant(use.node)]
    return [use.node.name for quant in quants for use in quant.output.uses]
