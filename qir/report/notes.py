"""What a user should know of a quantized model that no table says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qir.frontends.onnx import unknown_ops
from qir.ir.graph import Graph
from qir.runtime.compare import OutputComparison

FAR = 10.0
"""dB of signal to quantization noise below which an output is called far from the float one."""


def notes(graph: Graph, outputs: Sequence[OutputComparison], *, without_data: bool) -> Iterator[str]:
    """What a user should know that no table says."""
    if without_data:
        yield (
            "there were statistics but no data: nothing was compared with the float model, and the deploy "
            "graph was not proven to give the integers of the fake-quant graph; give data too for both"
        )
    foreign = sorted({f"{n.domain}.{n.op}" if n.domain else n.op for n in unknown_ops(graph)})
    if foreign:
        yield f"ops outside ONNX are carried unchanged: {', '.join(foreign)}"
    floats = {v.name for v in graph.outputs if v.tensor.dtype is not None and v.tensor.dtype.is_float}
    for output in outputs:
        if output.name in floats and not output.sqnr >= FAR:
            yield (
                f"output '{output.name}' of the fake-quant graph is far from the float model's "
                f"({output.sqnr:.1f} dB): leave the layers that hurt in float (skip), or try another method"
            )
