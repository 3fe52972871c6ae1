"""A graph in ONNX Runtime as a chain of sessions, which hand out tapped tensors segment by segment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from qir.ir.float_graph import float_graph
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import unquantized
from qir.runtime.chain import Chain
from qir.runtime.segments import SEGMENT_BYTES
from qir.runtime.session import Feeds, aligned_copy, check_feeds
from qir.runtime.units import Array


class SegmentedSession:
    """Sessions of the segments of a graph with taps; quant nodes are bypassed.

    Each runs in the thread that calls, so that results do not depend on the number of cores; several threads
    may call at a time. ModelError when ONNX Runtime cannot load the graph.
    """

    def __init__(
        self, graph: Graph, taps: Collection[Value], limit: int = SEGMENT_BYTES, *, owned: bool = False
    ) -> None:
        """`taps` are values of `graph`; of a quant, the float value behind it. `limit` as for `split`.

        A graph without quants that nobody else uses may be `owned`: it is taken as it is and its types are
        changed, which saves a copy.
        """
        copies: dict[Value, Value] = {}
        if owned:
            copy = graph
            copies.update((value, value) for value in graph.values())
        else:
            copy = float_graph(graph, copies)
        tapped = {unquantized(value) for value in taps}
        self._inputs = tuple(value.name for value in graph.inputs)
        self._taps = {copies[value].name: value.name for value in tapped}
        self._outputs = {value.name: copies[unquantized(value)] for value in graph.outputs}
        self._chain = Chain(copy, [copies[value] for value in tapped], limit, fetch=True)
        self.stop = self._chain.stop

    def stages(self, feeds: Feeds, outputs: dict[str, Array]) -> Iterator[dict[str, Array]]:
        """Run all segments; yield the tapped tensors of the inputs and of each segment, in running order.

        Whoever takes them out of the dictionary is the last to hold them, but for those that a later segment
        reads. The outputs of the graph are put into `outputs` when all have run.
        """
        check_feeds(self._inputs, feeds)
        held: dict[str, Array] = {name: aligned_copy(array) for name, array in feeds.items()}
        returned = {value.name: held.get(value.name) for value in self._outputs.values()}
        yield {self._taps[name]: held[name] for name in self._inputs if name in self._taps}
        for link in self._chain.links:
            found = link.run(held)
            returned.update((name, array) for name, array in found.items() if name in returned)
            yield {self._taps[name]: found.pop(name) for name in tuple(found) if name in self._taps}
        for name, value in self._outputs.items():
            array = returned[value.name] if value.constant is None else value.constant.array
            assert array is not None
            outputs[name] = array

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of the graph by name."""
        outputs: dict[str, Array] = {}
        for _ in self.stages(feeds, outputs):
            pass
        return outputs
