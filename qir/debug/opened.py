"""The model that is debugged: one closed graph with its data, opened once for all functions."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from qir.backends.targets import target_named
from qir.config.open import ConfigSource
from qir.ir.errors import ArgumentError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import unquantized
from qir.ir.region import extract
from qir.models import ModelSource, load
from qir.quantization import Quantized, quantize
from qir.runtime.chain import needed
from qir.runtime.data import CalibrationData, DataSource, open_data
from qir.runtime.progress import SILENT, Progress
from qir.runtime.rounder import closed_precision
from qir.runtime.session import Session
from qir.runtime.statistics_file import Statistics
from qir.runtime.switches import Switchable, switchables
from qir.runtime.units import Unit


@dataclass
class Samples:
    """Samples of the data, one by one, as often as they are asked for; `count` is how many there were.

    ArgumentError at the end when so many were asked for and there are fewer.
    """

    read: Callable[[], Iterator[Unit]]
    wanted: int
    is_asked: bool
    count: int = 0

    def __iter__(self) -> Iterator[Unit]:
        self.count = 0
        for unit in itertools.islice(self.read(), self.wanted):
            self.count += 1
            yield unit
        if self.is_asked and self.count < self.wanted:
            raise _too_few(self.wanted, self.count)

    def __length_hint__(self) -> int:
        return self.wanted


@dataclass(frozen=True)
class Opened:
    """A closed graph and its data; what `open_model` gives and every debug function takes as a model."""

    graph: Graph
    data: CalibrationData
    name: str | None
    progress: Progress

    @functools.cached_property
    def switchables(self) -> dict[str, Switchable]:
        """The nodes with quantizers by name, in running order."""
        return switchables(self.graph)

    def samples(self, count: int | None, default: int) -> Samples:
        """The first `count` samples, which must be there; without a count the first `default`, or fewer."""
        wanted = _positive(count, "data_num") if count is not None else default
        total = self.data.total
        if count is not None and total is not None and total < wanted:
            raise _too_few(wanted, total)
        return Samples(self._stream, wanted, is_asked=count is not None)

    def _stream(self) -> Iterator[Unit]:
        session = functools.cache(lambda: Session(self.graph, threads=1))  # most data need no run
        return self.data.units(lambda feeds: session().run(feeds, session().outputs))

    def toward(self, output_node: str | None) -> Graph:
        """The graph, or its part that makes the result of a node (or a tensor of that name).

        ArgumentError for an unknown name.
        """
        if output_node is None:
            return self.graph
        graph = self.graph
        value = _result_named(graph, output_node)
        part = extract(graph, needed(graph.nodes, [value]), [value])
        for given in graph.inputs:
            if not part.has_value(given.name):
                part.add_input(given.name, given.type)
        return part


DebugModel: TypeAlias = "ModelSource | Graph | Quantized | Opened"
"""A float model, which is quantized first; a closed graph or `.qir` file; or what `open_model` gave."""


def open_model(
    model: DebugModel,
    calibrated_data: DataSource | None,
    *,
    statistics: Statistics | str | os.PathLike[str] | None = None,
    target: str = "ascend",
    pipeline: str = "default",
    method: str = "ifmr",
    skip: str | Sequence[str] = (),
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> Opened:
    """Open a model for several debug functions, so that it is quantized and its data are read once.

    A float model is quantized as `qir.quantize` does with the arguments from `statistics` to `config`; one
    that is quantized already takes none of these. ArgumentError for arguments that do not fit together, and
    for a model without quantizers.
    """
    changed = _changed(statistics, target, pipeline, method, skip, config)
    if isinstance(model, Opened):
        _check_unchanged(changed)
        return model
    if calibrated_data is None:
        raise ArgumentError("calibrated_data", "no data; the debug functions run the model on samples")
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    source = _graph_of(model)
    data = open_data(calibrated_data, source)
    if switchables(source):
        _check_unchanged(changed)
        _check_closed(source)
        graph = source
    else:
        graph = quantize(
            source, data, statistics=statistics, target=target, pipeline=pipeline, method=method,
            skip=skip, config=config, form=target_named(target).forms[0], progress=progress,
        ).graph  # fmt: skip
    return Opened(graph, data, None if name is None else Path(name).name, progress or SILENT)


def _graph_of(model: ModelSource | Graph | Quantized) -> Graph:
    if isinstance(model, Quantized):
        return model.graph
    return model if isinstance(model, Graph) else load(model)


def _check_closed(graph: Graph) -> None:
    """PassError for a quant without a scale."""
    for item in switchables(graph).values():
        for name, index in item.readings():
            node = graph.node(name)
            value = node.input(index)
            assert value is not None
            closed_precision(value, node)


def _changed(
    statistics: Statistics | str | os.PathLike[str] | None,
    target: str,
    pipeline: str,
    method: str,
    skip: str | Sequence[str],
    config: ConfigSource | None,
) -> tuple[str, ...]:
    """The names of the settings of quantization that are not the default."""
    given = {
        "statistics": statistics is not None,
        "target": target != "ascend",
        "pipeline": pipeline != "default",
        "method": method != "ifmr",
        "skip": bool(skip),
        "config": config is not None,
    }
    return tuple(name for name, is_changed in given.items() if is_changed)


def _check_unchanged(changed: tuple[str, ...]) -> None:
    if changed:
        them = "it" if len(changed) == 1 else "them"
        reason = f"the model is quantized already; leave {them} out, or give the float model"
        raise ArgumentError(changed, reason)


def _too_few(wanted: int, found: int) -> ArgumentError:
    return ArgumentError("data_num", f"{wanted} samples were asked for, the data have {found}")


def _positive(number: int, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ArgumentError(what, f"a whole number from 1 on is expected, not {number!r}")
    return number


def _result_named(graph: Graph, name: str) -> Value:
    """The float result of a node, or the tensor itself; ArgumentError with the nearest names."""
    if graph.has_node(name):
        return unquantized(graph.node(name).output)
    if graph.has_value(name) and graph.value(name).producer is not None:
        return unquantized(graph.value(name))
    known = [node.name for node in graph.nodes]
    reason = f"the model has no node or result '{name}'{did_you_mean(name, known)}"
    raise ArgumentError("output_node", reason)
