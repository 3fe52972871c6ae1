"""The float and the quantized model on samples that all stand at the same step: two streams, one ahead.

The quantized model runs in steps, each of which ends with results of layers (`levels.py`). The float one is
not cut so finely: as many of its results as fit in `SEGMENT_BYTES` a sample are made at once, and held until
they are compared. A session is open for the time of its step only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from qir.ir.float_graph import float_graph
from qir.ir.graph import Graph
from qir.ir.types import TensorType
from qir.ir.walk import walk_nodes
from qir.runtime.chain import State
from qir.runtime.levels import Step, steps_of
from qir.runtime.segments import SEGMENT_BYTES, infer_anew
from qir.runtime.session import aligned_copy
from qir.runtime.twins import without_quants
from qir.runtime.units import Unit
from qir.runtime.workers import cores

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Stream:
    """A model on one sample: what later steps read, and results that were made and not taken yet."""

    state: State
    results: State = field(default_factory=dict)


class Sample:
    """A sample in both models; `quantized` streams differ in what is done to their results."""

    def __init__(self, unit: Unit, variants: int) -> None:
        feeds = {name: aligned_copy(array) for name, array in unit.feeds.items()}
        self.unit = unit
        self.floats = Stream(dict(feeds))
        self.quantized = [Stream(dict(feeds)) for _ in range(variants)]

    def drop_results(self) -> None:
        """Forget the results of a step of the quantized model, and what the float one has in their place."""
        for name in self.quantized[0].results:
            self.floats.results.pop(name, None)
        for stream in self.quantized:
            stream.results.clear()


class BothModels:
    """A closed graph in steps, and the float graph behind it in larger ones; the graph stays as it is."""

    def __init__(self, graph: Graph, results: Collection[str]) -> None:
        """`results` are names of what layers give. Biases may be open; PassError for other open quants."""
        floats = float_graph(graph)
        infer_anew(floats)
        self.outputs = tuple(dict.fromkeys(v.name for v in floats.outputs if v.producer is not None))
        self.steps = steps_of(_rounded(graph, floats), results)
        self._float_steps = iter(steps_of(floats, results, SEGMENT_BYTES))

    def run(self, step: Step, samples: Sequence[Sample], pool: Executor) -> None:
        """Put the results of a step of the quantized model, and of the float one, in the streams."""
        missing = set(step.results)
        while samples and not missing <= samples[0].floats.results.keys():
            self._run(next(self._float_steps), [sample.floats for sample in samples], pool)
        self._run(step, [stream for sample in samples for stream in sample.quantized], pool)

    def finish(self, samples: Sequence[Sample], pool: Executor) -> None:
        """Run the float model to its end: its outputs are in the state."""
        for step in self._float_steps:
            self._run(step, [sample.floats for sample in samples], pool)

    def _run(self, step: Step, streams: Sequence[Stream], pool: Executor) -> None:
        link = step.link()

        def run(stream: Stream) -> None:
            made = link.run(stream.state)
            stream.results.update((name, made[name]) for name in step.results)

        on_all(run, streams, pool)


def on_all(function: Callable[[T], R], items: Sequence[T], pool: Executor) -> list[R]:
    """Results for all items, in their order, in no more tasks than cores: what a step does takes little."""
    workers = min(cores(), len(items))
    if workers < 2:
        return [function(item) for item in items]

    def run(first: int) -> list[R]:
        return [function(item) for item in items[first::workers]]

    tasks = [pool.submit(run, first) for first in range(workers)]
    found = [task.result() for task in tasks]
    return [found[i % workers][i // workers] for i in range(len(items))]


def _rounded(graph: Graph, floats: Graph) -> Graph:
    """The graph with rounded operands; what it shares with the float graph has the types of that."""
    rounded = without_quants(graph, rounded=True)
    known = {v.name: v.type for node in floats.nodes for v in node.outputs if v is not None}
    for value in (v for node in walk_nodes(rounded) for v in node.outputs if v is not None):
        if value.name in known:
            value.type = known[value.name]
        elif isinstance(value.type, TensorType):
            value.type = TensorType(value.type.dtype)
    return rounded
