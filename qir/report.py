"""What a quantization did: precision of each layer and why, integer share, size, output error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qir.ir.cost import macs
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant, operand_precision, quantized_layers
from qir.ir.types import spec_of
from qir.ir.walk import walk_nodes
from qir.passes.left_float import FLOAT
from qir.runtime.compare import OutputComparison

WIDENED = "qir.widened"
"""Metadata key, written by quantize-bias: JSON list of channels whose weight scale it widened."""


@dataclass(frozen=True)
class LayerReport:
    """One layer: its precision ("int8", "int16" or "float32"), why, and its multiply-accumulates per sample.

    `macs` is None when a shape is unknown, and 0 for layers that multiply nothing.
    """

    name: str
    op: str
    precision: str
    reason: str
    macs: int | None

    @property
    def is_quantized(self) -> bool:
        """True when the layer computes with integers."""
        return self.precision.startswith("int")


@dataclass(frozen=True)
class Report:
    """Layers in running order, outputs, sizes in bytes, and sentences about anything unusual."""

    layers: tuple[LayerReport, ...]
    outputs: tuple[OutputComparison, ...]
    float_bytes: int
    deploy_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def integer_share(self) -> float | None:
        """Share of the multiply-accumulates that run in integers; None when a number is unknown."""
        counts = [layer.macs for layer in self.layers]
        known = [c for c in counts if c is not None]
        if len(known) < len(counts) or not sum(known):
            return None
        return sum(layer.macs or 0 for layer in self.layers if layer.is_quantized) / sum(known)


def report_layers(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> tuple[LayerReport, ...]:
    """Every layer that is quantized, could be, or multiplies; `shapes` fills in unknown dimensions."""
    quantized = set(quantized_layers(graph))
    return tuple(_layers(graph, quantized, shapes))


def _layers(
    graph: Graph, quantized: set[Node], shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[LayerReport]:
    for node in walk_nodes(graph):
        if is_quant(node):
            continue
        cost = macs(node, shapes)
        if node in quantized:
            quant = operand_precision(node, 0)
            assert quant is not None
            spec = spec_of(quant)
            precision = f"int{spec.qtype.bits}"
            yield LayerReport(node.name, node.op, precision, _widened(node), cost)
        elif FLOAT in node.metadata:
            yield LayerReport(node.name, node.op, "float32", node.metadata[FLOAT], cost)
        elif cost:
            yield LayerReport(node.name, node.op, "float32", "the target has no integer form of it", cost)


def _widened(node: Node) -> str:
    channels = json.loads(node.metadata.get(WIDENED, "[]"))
    if not channels:
        return ""
    return f"weight scale of {len(channels)} channel(s) widened, so that the int32 bias does not overflow"


def opaque_ops(graph: Graph, known_domains: Sequence[str] = ("", "ai.onnx", "qir")) -> tuple[str, ...]:
    """`domain.op` of every op outside ONNX, sorted: qir carries them unchanged."""
    return tuple(sorted({f"{n.domain}.{n.op}" for n in walk_nodes(graph) if n.domain not in known_domains}))
