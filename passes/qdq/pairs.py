"""Pairs of QuantizeLinear and DequantizeLinear on activations, and how far they reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.quants import is_quant
from qir.ir.types import QuantParams
from qir.passes.qdq.constants import LAYOUT, unequal
from qir.passes.qdq.factors import factors, is_dequantize, is_quantize

PAIR = "import-qdq/pair"
"""Kind of the log entries for pairs that float ops read: applied where they stay, refused where they went."""
_PASSING = LAYOUT | {"MaxPool"}
"""Ops before which one may quantize instead of behind: they choose or move elements of input 0."""
_MOVERS = LAYOUT | {"Concat", "Gather", "MaxPool", "Slice", "Split"}
"""Ops whose results have elements of input 0 (Concat: of any input) and no others."""
SIZES = ("Shape", "Size")
"""Ops that read no elements."""


@dataclass(frozen=True)
class Pair:
    """`dequantize` reads `quantize`; together they quantize `source` by `params`."""

    quantize: Node
    dequantize: Node
    source: Value
    params: QuantParams


Pairs = Mapping[Value, Pair | str]
"""Output of each DequantizeLinear of an activation -> its pair, or why it is none that a quant could be."""


def find_pairs(graph: Graph) -> dict[Value, Pair | str]:
    """The pairs of `graph` (not of its subgraphs), in running order."""
    return {node.output: pair_of(node) for node in graph.nodes if is_dequantize(node)}


def pair_of(node: Node) -> Pair | str:
    """The pair of a DequantizeLinear, or why it is none."""
    first = node.input(0)
    above = None if first is None else first.producer
    after = factors(node)
    if above is None or not is_quantize(above):
        return f"'{node.name}' dequantizes what no QuantizeLinear made"
    source, before = above.input(0), factors(above)
    for found in (before, after):
        if isinstance(found, str):
            return found
    assert isinstance(before, QuantParams)
    assert source is not None
    if before != after:
        return unequal(above, node)
    if before.spec.axis is not None and source.tensor.shape is None:
        return f"'{above.name}' has one scale per channel of a tensor of unknown rank"
    return Pair(above, node, source, before)


def pair_before(value: Value, pairs: Pairs) -> Pair | str | None:
    """The pair by which a value is quantized: that which makes it, or what it passes through comes from."""
    while value not in pairs:
        node = value.producer
        if node is None or node.domain or node.op not in _PASSING:
            return None
        first = node.input(0)
        if first is None:
            return None
        value = first
    return pairs[value]


def rounded_later(value: Value, fits: Callable[[QuantParams], bool]) -> bool:
    """True when all that is done with a value is to move its elements to pairs or quants that fit."""
    return not value.is_output and all(_reads_rounded(use, value, fits) for use in value.uses)


def _reads_rounded(use: Use, value: Value, fits: Callable[[QuantParams], bool]) -> bool:
    node = use.node
    if node.graph is not value.graph:
        return False
    if node.op in SIZES:
        return True
    if is_quantize(node):
        pairs = [pair_of(later.node) for later in node.output.uses if is_dequantize(later.node)]
        return bool(pairs) and all(isinstance(pair, Pair) and fits(pair.params) for pair in pairs)
    if is_quant(node):
        params = node.output.tensor.quant
        return isinstance(params, QuantParams) and fits(params)
    if node.op not in _MOVERS or node.domain or (use.index > 0 and node.op != "Concat"):
        return False
    return all(v is None or rounded_later(v, fits) for v in node.outputs)


def value_range(params: QuantParams) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The smallest and the largest number that a quantization can represent, [1] or [C]."""
    low, high = params.spec.qtype.integer_range
    scale, zero = params.scale_array(), params.zero_point_array()
    return (low - zero).astype(np.float32) * scale, (high - zero).astype(np.float32) * scale


def lone_reason(node: Node) -> str | None:
    """Why a QuantizeLinear keeps standing: somebody reads its integers. None when only pairs read it."""
    other = next((use for use in node.output.uses if not is_dequantize(use.node)), None)
    if other is not None:
        return f"its integers are read by '{other.node.name}' ({other.node.op}), not by a DequantizeLinear"
    return "its integers are an output of the graph" if node.output.is_output else None
