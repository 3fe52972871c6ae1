"""Shapes of the values of a graph for the inputs of one run, so that multiply-accumulates can be counted."""

from __future__ import annotations

from dataclasses import replace

from qir.frontends.onnx import infer_types
from qir.ir.cost import macs
from qir.ir.graph import Graph
from qir.ir.quants import unquantized
from qir.ir.types import TensorType
from qir.runtime.session import Feeds, Session


def shapes_of(graph: Graph, feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """Shapes of all values for the inputs of one run: inferred, and where inference gives up, observed."""
    copy = graph.clone()
    for value in copy.values():
        if value.name in feeds and isinstance(value.type, TensorType):
            value.type = replace(value.type, shape=feeds[value.name].shape)
        elif value.constant is None and isinstance(value.type, TensorType):
            value.type = replace(value.type, shape=None)
    infer_types(copy)
    inferred = ((value.name, value.tensor.static_shape) for value in copy.values())
    shapes = {name: shape for name, shape in inferred if shape is not None}
    unknown = [node for node in graph.nodes if macs(node, shapes) is None]
    taps = [unquantized(v).name for n in unknown for v in (*n.inputs, *n.outputs) if v is not None]
    if taps:
        session = Session(graph, taps=taps, threads=1)
        shapes |= {name: array.shape for name, array in session.run(feeds, taps).items()}
    return shapes
