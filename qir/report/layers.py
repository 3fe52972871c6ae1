"""What became of each layer: its precision and why, integer share, size, output error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from qir.backends.ascend.check import Finding
from qir.backends.proof_result import Proof
from qir.ir.cost import macs
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant, is_restored, operand_precision, quantized_layers, quantized_tensors
from qir.ir.walk import walk_nodes
from qir.passes.activation_scales import CONSTANT_INPUT
from qir.passes.insert_quant import INT8_WEIGHT
from qir.passes.left_float import FLOAT
from qir.runtime.compare import OutputComparison

WIDENED = "qir.widened"
"""Metadata key, written by quantize-bias: JSON list of channels whose weight scale it widened."""


@dataclass(frozen=True)
class LayerReport:
    """One layer: its precision, why it has that, and its multiply-accumulates per sample.

    `precision` is that of its input and, where it differs, its weight: "int8", "int16", "int8 x int4",
    "float32", "float16". `macs` is None when a shape is unknown, and 0 for layers that multiply nothing.
    """

    name: str
    op: str
    precision: str
    reason: str
    macs: int | None

    @property
    def is_quantized(self) -> bool:
        """True when the layer computes with integers."""
        return not self.precision.startswith("float")


@dataclass(frozen=True)
class Report:
    """Layers in running order, outputs, sizes in bytes, and sentences about anything unusual.

    `findings` are those of ATC's rules on the deploy graph; `proof` is what comparing its integers with the
    fake-quant graph's has shown (None: nothing was written, or no proof asked for); `compared_samples` how
    many samples outputs were compared on.
    """

    layers: tuple[LayerReport, ...]
    outputs: tuple[OutputComparison, ...]
    float_bytes: int
    deploy_bytes: int
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    proof: Proof | None = None
    compared_samples: int = 0

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
    return tuple(_layers(graph, shapes))


def _layers(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[LayerReport]:
    quantized = set(quantized_layers(graph))
    tensors: dict[Node, list[str]] = {}
    for node, index in quantized_tensors(graph):
        tensors.setdefault(node, []).append(str(index))
    for node in walk_nodes(graph):
        if is_quant(node) or is_restored(node):
            continue
        cost = macs(node, shapes)
        if node in quantized:
            yield LayerReport(node.name, node.op, _precision(node), _remarks(node), cost)
        elif FLOAT in node.metadata:
            yield LayerReport(node.name, node.op, _float_type(node), node.metadata[FLOAT], cost)
        elif node in tensors:
            reason = f"computes in float; what input {' and '.join(tensors[node])} reads travels as int8"
            yield LayerReport(node.name, node.op, _float_type(node), reason, cost)
        elif cost:
            reason = "the target has no integer form of it"
            yield LayerReport(node.name, node.op, _float_type(node), reason, cost)


def _precision(node: Node) -> str:
    """The precisions of the first two inputs; of the first alone where the second is int8 or both float16."""
    found = [operand_precision(node, i) for i in (0, 1) if node.input(i) is not None]
    words = ["float32" if precision is None else precision.name for precision in found]
    is_usual = words[1:] in ([], ["int8"]) or words == ["float16", "float16"]
    return words[0] if is_usual else " x ".join(words)


def _float_type(node: Node) -> str:
    known = [v.tensor.dtype for v in (*node.outputs, *node.inputs) if v is not None]
    return "float16" if DType.F16 in known else "float32"


def _remarks(node: Node) -> str:
    """What is unusual about a quantized layer, or why it computes in float16."""
    found = [node.metadata[FLOAT]] if FLOAT in node.metadata else []
    channels = json.loads(node.metadata.get(WIDENED, "[]"))
    if channels:
        found.append(
            f"weight scale of {len(channels)} channel(s) widened, so that the int32 bias does not overflow"
        )
    if CONSTANT_INPUT in node.metadata:
        found.append(node.metadata[CONSTANT_INPUT])
    if INT8_WEIGHT in node.metadata:
        found.append(f"weights of fewer bits were asked for, but {node.metadata[INT8_WEIGHT]}")
    return "; ".join(found)
