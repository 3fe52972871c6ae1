"""The float graph that calibration runs: without quants, with float weights or with quantized ones."""

from __future__ import annotations

from collections.abc import Iterator

from qir.ir.constant import Constant
from qir.ir.errors import PassError
from qir.ir.float_graph import float_graph as float_graph
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.printer import print_quant
from qir.ir.quants import erase_quant, is_quant, value_precision
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.compensation import rounded_array


def with_quantized_weights(graph: Graph) -> Graph:
    """A copy whose layers read fake-quantized weights as plain constants; ConvTranspose keeps floats."""
    copy = graph.clone()
    for node in copy.nodes:
        params = _fake_quantized(node)
        source = node.inputs[0] if is_quant(node) else None
        if params is None or source is None or source.constant is None:
            continue
        precision = value_precision(node.output)
        assert precision is not None
        weights = source.constant.array
        fake_weights = rounded_array(weights, precision).astype(weights.dtype, copy=False)
        fake = copy.constant(Constant.of(fake_weights), f"{source.name}.fake")
        copy.replace(node.output, fake)
        erase_quant(node.output)
        if not source.is_read:
            copy.erase(source)
    return copy


def weight_configuration(graph: Graph) -> dict[str, str]:
    """How `with_quantized_weights` quantizes the weight of each layer, as text, by the layer's name."""
    return dict(_configuration(graph))


def _configuration(graph: Graph) -> Iterator[tuple[str, str]]:
    for node in graph.nodes:
        params = _fake_quantized(node)
        if params is not None:
            yield from ((use.node.name, print_quant(params)) for use in node.output.uses)


def _fake_quantized(node: Node) -> QuantParams | None:
    """The parameters of a weight's quant whose result takes the weight's place, otherwise None.

    PassError for a weight without scales.
    """
    source = node.inputs[0] if is_quant(node) else None
    if source is None or source.constant is None:
        return None
    params = node.output.tensor.quant
    if isinstance(params, QuantSpec):
        if params.qtype.bits == 32:
            return None
        raise PassError(f"weight '{source.name}' has no scale yet; run quantize-weights before calibrate")
    uses = node.output.uses
    if not isinstance(params, QuantParams) or any(use.node.op in ("ConvTranspose", "quant") for use in uses):
        return None
    return params
