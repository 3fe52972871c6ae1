"""Rule on float islands: layers that stay in float between quantized ones cost conversions on both sides."""

from __future__ import annotations

from collections.abc import Iterator

from qir.backends.ascend.check.finding import Finding
from qir.backends.ascend.check.structure import DEQUANT, QUANT, DeployGraph, array_of
from qir.ir.node import Node, Value

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def float_islands(deploy: DeployGraph) -> Iterator[Finding]:
    """Layers in float with a quantized layer before and one behind them."""
    integer = {layer.node for layer in deploy.layers}
    before, behind = _before(deploy), _behind(deploy)
    for node in deploy.graph.nodes:
        if node.op not in _LAYERS or node in integer:
            continue
        sources = [before[value] for value in node.inputs if value is not None and value in before]
        readers = [behind[value] for value in node.outputs if value is not None and value in behind]
        if not sources or not readers:
            continue
        fixed = any(array_of(value) is not None for value in node.inputs)
        yield Finding(
            "warning" if fixed else "info",
            "float-island",
            node.name,
            f"{node.op} stays in float between '{sources[0].name}' and '{readers[0].name}'",
            "quantize it too if accuracy allows"
            if fixed
            else "both operands are computed: it has no int8 form",
        )


def _before(deploy: DeployGraph) -> dict[Value, Node]:
    """For each value that depends on quantized layers, the AscendDequant nearest in front of it."""
    found: dict[Value, Node] = {}
    for node in deploy.graph.nodes:
        source = node if node.op == DEQUANT else None
        for value in node.inputs:
            if source is None and value is not None:
                source = found.get(value)
        if source is not None:
            found.update((value, source) for value in node.outputs if value is not None)
    return found


def _behind(deploy: DeployGraph) -> dict[Value, Node]:
    """For each value on which quantized layers depend, the AscendQuant nearest behind it."""
    found: dict[Value, Node] = {}
    for node in reversed(deploy.graph.nodes):
        reader = node if node.op == QUANT else None
        for value in node.outputs:
            if reader is None and value is not None:
                reader = found.get(value)
        if reader is not None:
            found.update((value, reader) for value in node.inputs if value is not None)
    return found
