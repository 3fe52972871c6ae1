"""What a user should know of a quantized model that no table says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qir.frontends.onnx import unknown_ops
from qir.ir.graph import Graph
from qir.ir.quants import is_quant, quant_of
from qir.ir.types import QuantParams
from qir.ir.walk import walk_nodes
from qir.passes.context import Refused
from qir.runtime.channels import channels_first
from qir.runtime.compare import OutputComparison

FAR = 10.0
"""dB of signal to quantization noise below which an output is called far from the float one."""
_LISTED = 3


def notes(
    graph: Graph,
    outputs: Sequence[OutputComparison],
    refusals: Sequence[Refused] = (),
    *,
    without_data: bool,
) -> Iterator[str]:
    """What a user should know that no table says; `refusals` are those of the passes that made the graph."""
    if without_data:
        yield (
            "there were statistics but no data: nothing was compared with the float model, and the deploy "
            "graph was not proven to give the integers of the fake-quant graph; give data too for both"
        )
    foreign = sorted({f"{n.domain}.{n.op}" if n.domain else n.op for n in unknown_ops(graph)})
    if foreign:
        yield f"ops outside ONNX are carried unchanged: {', '.join(foreign)}"
    yield from _not_folded(graph, refusals)
    yield from _without_weight(graph)
    floats = {v.name for v in graph.outputs if v.tensor.dtype is not None and v.tensor.dtype.is_float}
    for output in outputs:
        if output.name in floats and not output.sqnr >= FAR:
            yield (
                f"output '{output.name}' of the fake-quant graph is far from the float model's "
                f"({output.sqnr:.1f} dB): leave the layers that hurt in float (skip), or try another method"
            )


def _not_folded(graph: Graph, refusals: Sequence[Refused]) -> Iterator[str]:
    """Normalizations that no layer has absorbed: each costs time on the board, and a rounding."""
    left = {node.name for node in walk_nodes(graph) if node.op == "BatchNormalization"}
    reasons = {r.node: r.reason for r in refusals if r.kind == "fuse-bn" and r.node in left}
    if reasons:
        named = [f"'{name}' ({reason})" for name, reason in reasons.items()]
        yield f"{len(reasons)} BatchNormalization not folded into a layer: {_first(named)}"


def _without_weight(graph: Graph) -> Iterator[str]:
    """Channels of weights that are zero all over, as pruning and training gone wrong leave them."""
    found = []
    for node in graph.nodes:
        value = node.input(0) if is_quant(node) else None
        params = quant_of(node.output) if value is not None and value.constant is not None else None
        if value is None or value.constant is None or not isinstance(params, QuantParams):
            continue
        scales = params.scale_array()
        if np.any(scales == 1):  # what such a channel gets
            rows = channels_first(value.constant.array, params.spec)
            zero = int(np.count_nonzero(~rows.any(axis=1)))
            count = "all" if len(rows) == 1 else f"{zero} of {len(rows)}"
            found += [f"{count} of '{value.name}'"] if zero else []
    if found:
        yield f"weights whose channels are zero, so that their scale is 1: {_first(found)}"


def _first(items: Sequence[str]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more
