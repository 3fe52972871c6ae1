"""Narrow ranges: an integer Clip between QuantizeLinear and DequantizeLinear becomes a float Clip in front.

    QuantizeLinear -> Clip(0, 127) -> DequantizeLinear    ->    Clip(-z * s, (127 - z) * s) -> pair

PyTorch exports activations of 7 bits like that. Both round to the same integers: the bounds of the float Clip
lie on the grid of the quantization.
"""

from __future__ import annotations

import numpy as np

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import QuantParams
from qir.passes.qdq.factors import factors, is_dequantize, is_quantize, signed_type


def is_narrowing(node: Node) -> bool:
    """True for a Clip of the integers of a QuantizeLinear for DequantizeLinears."""
    first = node.input(0)
    if node.op != "Clip" or node.domain or first is None or not is_quantize(first.producer):
        return False
    return not node.output.is_output and all(is_dequantize(use.node) for use in node.output.uses)


def move_narrow_ranges(graph: Graph) -> None:
    """Move each such Clip of `graph` (not of its subgraphs) whose bounds are constants."""
    for node in graph.nodes:
        if not is_narrowing(node):
            continue
        source = node.inputs[0]
        assert source is not None
        assert source.producer is not None
        found = factors(source.producer)
        bounds = None if isinstance(found, str) or found.spec.axis is not None else _bounds(node, found)
        if bounds is not None:
            _move(graph, node, source.producer, bounds)


def _bounds(clip: Node, params: QuantParams) -> tuple[float, float] | None:
    """Between which floats the Clip leaves what it reads; None when a bound is computed at run time."""
    limits = list(params.spec.qtype.integer_range)
    for i, value in enumerate(clip.inputs[1:3]):
        if value is None:
            continue
        held = value.constant
        signed = None if held is None else signed_type(held.dtype)
        if held is None or signed is None or held.dtype.numpy is None or held.size != 1:
            return None
        shift = held.dtype.integer_range[0] - signed.integer_range[0]
        limits[i] = int(held.array.reshape(-1)[0]) - shift
    scale, zero = params.scale_array()[0], params.zero_point[0]
    low, high = (float(np.float32(limit - zero) * scale) for limit in limits)
    return low, high


def _move(graph: Graph, clip: Node, quantize: Node, bounds: tuple[float, float]) -> None:
    x, scale = quantize.inputs[0], quantize.inputs[1]
    assert x is not None
    assert scale is not None
    name = graph.unique_node_name(f"{x.name}.clip")
    kind = scale.tensor.dtype.numpy if scale.tensor.dtype is not None else None
    limits: list[Value | None] = [
        graph.constant(np.asarray(bound, kind), f"{name}.{end}")
        for end, bound in zip(("min", "max"), bounds, strict=True)
    ]
    output = graph.unique_value_name(name)
    before = graph.add("Clip", [x, *limits], name=name, outputs=[output], types=[x.type], before=clip)
    again = graph.add(
        quantize.op,
        [before.output, *quantize.inputs[1:]],
        domain=quantize.domain,
        name=graph.unique_node_name(quantize.name),
        types=[quantize.output.type],
        attributes=quantize.attributes,
        before=clip,
    )
    graph.replace(clip.output, again.output)
    graph.erase(clip)
    if not quantize.output.is_read:
        graph.erase(quantize)
