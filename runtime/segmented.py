"""A graph in ONNX Runtime as a chain of sessions, which hand out tapped tensors segment by segment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from qir.frontends.onnx import infer_types
from qir.ir.clone import clone_graph
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import is_quant, unquantized
from qir.ir.types import TensorType
from qir.ir.walk import walk_graphs, walk_nodes
from qir.runtime.segments import SEGMENT_BYTES, split
from qir.runtime.session import Feeds, Session, aligned_copy, check_feeds
from qir.runtime.units import Array


class SegmentedSession:
    """Sessions of the segments of a graph with taps; quant nodes are bypassed.

    Each runs in the thread that calls, so that results do not depend on the number of cores; several threads
    may call at a time. ModelError when ONNX Runtime cannot load the graph.
    """

    def __init__(self, graph: Graph, taps: Collection[Value], limit: int = SEGMENT_BYTES) -> None:
        """`taps` are values of `graph`; of a quant, the float value behind it. `limit` as for `split`."""
        copy, copies = _float_copy(graph)
        _infer_shapes_anew(copy)
        tapped = {unquantized(value) for value in taps}
        self._inputs = tuple(value.name for value in graph.inputs)
        self._taps = {copies[value].name: value.name for value in tapped}
        self._outputs = {value.name: copies[unquantized(value)] for value in graph.outputs}
        self._segments = split(copy, [copies[value] for value in tapped], limit)
        self._sessions = [Session(segment.graph, threads=1, shared=True) for segment in self._segments]

    def stages(self, feeds: Feeds, outputs: dict[str, Array]) -> Iterator[dict[str, Array]]:
        """Run all segments; yield the tapped tensors of the inputs and of each segment, in running order.

        Whoever takes them out of the dictionary is the last to hold them, but for those that a later segment
        reads. The outputs of the graph are put into `outputs` when all have run.
        """
        check_feeds(self._inputs, feeds)
        held: dict[str, Array] = {name: aligned_copy(array) for name, array in feeds.items()}
        returned = {value.name: held.get(value.name) for value in self._outputs.values()}
        yield {self._taps[name]: held[name] for name in self._inputs if name in self._taps}
        for segment, session in zip(self._segments, self._sessions, strict=True):
            found = session.run({name: held[name] for name in session.inputs})
            for name in segment.last_read:
                del held[name]
            held.update((name, array) for name, array in found.items() if name in segment.kept)
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

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        for session in self._sessions:
            session.stop()


def _float_copy(graph: Graph) -> tuple[Graph, dict[Value, Value]]:
    """A copy without quants, and what stands in it for each value of `graph` that is no result of one."""
    copies: dict[Value, Value] = {}
    copy = clone_graph(graph, graph.parent, copies)
    for inner in walk_graphs(copy):
        for i, value in enumerate(inner.outputs):
            inner.set_output(i, unquantized(value))
    for node in walk_nodes(copy):
        if is_quant(node):
            for reader, i in node.output.uses:
                reader.set_input(i, node.inputs[0])
            copy.erase(node)
    return copy, copies


def _infer_shapes_anew(graph: Graph) -> None:
    """Give what nodes make the shapes that follow from inputs and constants, whatever the model declares.

    ONNX Runtime overlooks a wrong declaration within a graph, but not where a segment reads the value.
    """
    for value in (v for node in walk_nodes(graph) for v in node.outputs if v is not None):
        if isinstance(value.type, TensorType):
            value.type = TensorType(value.type.dtype)
    infer_types(graph)
