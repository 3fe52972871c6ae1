"""Opens a model of any kind for running: float, fake-quant, QDQ, deploy, or a quantized graph of the IR."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qir.backends.fake_quant import lower
from qir.backends.layer_values import GraphKind, kind_of
from qir.ir.atomic import written_aside
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.quants import is_quant
from qir.models import CaffeFiles, FilePath, load
from qir.runtime.compare import Runner
from qir.runtime.data import DataSource, open_data
from qir.runtime.deploy.runner import DeployRunner
from qir.runtime.progress import SILENT, Progress
from qir.runtime.session import Session, aligned_copy
from qir.runtime.units import Array, Unit
from qir.runtime.workers import cores, ordered_map

RunSource = FilePath | bytes | CaffeFiles | Graph
"""What can be opened to be run."""


@dataclass(frozen=True)
class Model:
    """A model that can be run; `title` is how messages call it."""

    graph: Graph
    title: str
    kind: GraphKind

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that need data."""
        return tuple(v.name for v in self.graph.inputs if v.constant is None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(dict.fromkeys(v.name for v in self.graph.outputs))

    def runner(self, taps: Sequence[str] = (), *, optimize: bool = False) -> Runner:
        """A session of one thread. Unless `optimize`, ops run as written: equal graphs give equal bits."""
        if self.kind == "deploy":
            return DeployRunner(self.graph, taps=taps, threads=1, optimize=optimize)
        return Session(self.graph, taps=taps, threads=1, optimize=optimize)


def open_model(source: RunSource) -> Model:
    """A model to run. A quantized graph of the IR is taken as its fake-quant graph, form `ascend`."""
    if isinstance(source, Graph):
        graph, title = source, source.name
    else:
        graph = load(source)
        named = source[0] if isinstance(source, tuple) else source
        title = graph.name if isinstance(named, bytes) else os.path.basename(os.fspath(named))
    if any(is_quant(node) for node in graph.nodes):
        graph = lower(graph)
    return Model(graph, title, kind_of(graph))


def run_model(
    source: RunSource,
    data: DataSource,
    *,
    progress: Progress | None = None,
) -> dict[str, list[Array]]:
    """The outputs by name, sample by sample; quantized graphs are run as written, bit for bit.

    Errors are those of `open_data` and of the run; QirError for an output that is no tensor.
    """
    model = open_model(source)
    opened = open_data(data, model.graph)
    runner = model.runner(optimize=model.kind == "float")
    found: dict[str, list[Array]] = {name: [] for name in runner.outputs}

    def run(unit: Unit) -> dict[str, Array]:
        return runner.run({k: aligned_copy(v) for k, v in unit.feeds.items()}, runner.outputs)

    display = SILENT if progress is None else progress
    with display.task("run", opened.total) as task:
        for results in ordered_map(run, opened.units(runner.run), cores(), runner.stop):
            for name, array in results.items():
                if not isinstance(array, np.ndarray):
                    raise QirError(f"output '{name}' is no tensor; it cannot be written as an array")
                found[name].append(array.astype(np.str_) if array.dtype == object else array)
            task.advance()
    return found


def save_outputs(results: Mapping[str, Sequence[Array]], path: Path) -> dict[str, Array]:
    """Write outputs as an .npz and return what is in it.

    Samples are put together along axis 0; where they differ in other dimensions, or have none, sample i of
    NAME becomes `NAME/i`.
    """
    arrays: dict[str, Array] = {}
    for name, samples in results.items():
        if len({array.shape[1:] for array in samples}) == 1 and samples[0].ndim:
            arrays[name] = np.concatenate(samples)
        else:
            arrays |= {f"{name}/{i}": array for i, array in enumerate(samples)}
    with written_aside(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return arrays
