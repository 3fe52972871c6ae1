"""Pairs of QuantizeLinear and DequantizeLinear on activations: which are quants, and taking them away.

A pair rounds and saturates. Where its reader computes in float on the target, the pair goes and with it the
rounding. The saturation stays, as a Clip to the numbers between which the pair can represent anything:
quantizers drop a Relu or Clip in front of a pair that saturates alike, so it may be part of the model. No
Clip is put where the value is within the range anyway, or is saturated no less by a pair that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.types import QuantParams, TensorType
from qir.passes.context import RewriteLog
from qir.passes.qdq.constants import LAYOUT, unequal
from qir.passes.qdq.factors import factors, is_dequantize, is_quantize

PAIR = "import-qdq/pair"
"""Kind of the log entries for pairs that went because their readers compute in float."""
_MOVERS = LAYOUT | {"Concat", "Gather", "Slice", "Split"}
"""Ops whose results have elements of input 0 (Concat: of any input) and no others."""
_SIZES = ("Shape", "Size")
"""Ops that read no elements."""
_CLIP_INPUTS_SINCE = 11
_UNIT = ("HardSigmoid", "Sigmoid", "Softmax")
_INFINITY = float("inf")


@dataclass(frozen=True)
class Pair:
    """`dequantize` reads `quantize`; together they quantize `source` per tensor by `params`."""

    quantize: Node
    dequantize: Node
    source: Value
    params: QuantParams

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number that comes out."""
        low, high = self.params.spec.qtype.integer_range
        scale, zero = np.float32(self.params.scale[0]), self.params.zero_point[0]
        return float(np.float32(low - zero) * scale), float(np.float32(high - zero) * scale)


Pairs = Mapping[Value, Pair | str]
"""Output of each DequantizeLinear of an activation -> its pair, or why it is none that a quant could be."""


def find_pairs(graph: Graph) -> dict[Value, Pair | str]:
    """The pairs of `graph` (not of its subgraphs), in running order."""
    return {node.output: _pair(node) for node in graph.nodes if is_dequantize(node)}


def _pair(node: Node) -> Pair | str:
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
    if before.spec.axis is not None:
        return f"'{above.name}' has one scale per channel; activations have one"
    return Pair(above, node, source, before)


def lone_reason(node: Node) -> str | None:
    """Why a QuantizeLinear keeps standing: somebody reads its integers. None when only pairs read it."""
    other = next((use for use in node.output.uses if not is_dequantize(use.node)), None)
    if other is not None:
        return f"its integers are read by '{other.node.name}' ({other.node.op}), not by a DequantizeLinear"
    return "its integers are an output of the graph" if node.output.is_output else None


def remove_pairs(graph: Graph, pairs: Pairs, log: RewriteLog) -> None:
    """Take away the pairs, in running order: let what still reads them read floats."""
    for pair in pairs.values():
        if isinstance(pair, str):
            continue
        result = pair.dequantize.output
        readers = [u for u in result.uses if not is_quantize(u.node) and u.node.op not in _SIZES]
        if readers or result.is_output:
            log.refused(PAIR, pair.quantize.name, f"{_readers(readers, result)} in float")
        if result.is_read:
            graph.replace(result, _in_float(graph, pair))
        graph.erase(pair.dequantize)
        if not pair.quantize.output.is_read:
            graph.erase(pair.quantize)


def _readers(readers: list[Use], result: Value) -> str:
    names = list(dict.fromkeys(f"'{use.node.name}' ({use.node.op})" for use in readers))
    names += [f"output '{result.name}'"] if result.is_output else []
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _in_float(graph: Graph, pair: Pair) -> Value:
    """What stands for the result of a pair where it is read in float."""
    low, high = pair.range
    half = pair.params.scale[0] / 2  # what is beyond the range by less than that is only rounded
    smallest, largest = _bounds(pair.source)
    if low - half <= smallest and largest <= high + half:
        return pair.source
    return pair.source if _saturated_later(pair.dequantize.output, low, high) else _clip(graph, pair)


def _bounds(value: Value) -> tuple[float, float]:
    """Between which numbers a value lies, as far as the node that makes it says."""
    node = value.producer
    if node is None or node.domain:
        return -_INFINITY, _INFINITY
    if node.op in _UNIT:
        return 0.0, 1.0
    if node.op == "Tanh":
        return -1.0, 1.0
    if node.op == "Clip":
        return _bound(node, 1, "min", -_INFINITY), _bound(node, 2, "max", _INFINITY)
    first = node.input(0)
    return _bounds(first) if node.op in LAYOUT and first is not None else (-_INFINITY, _INFINITY)


def _bound(clip: Node, index: int, attribute: str, otherwise: float) -> float:
    value, found = clip.input(index), clip.attributes.get(attribute, otherwise)
    if value is not None:
        held = value.constant
        return otherwise if held is None or held.dtype.numpy is None else float(held.array.reshape(-1)[0])
    return found if isinstance(found, float) else otherwise


def _saturated_later(value: Value, low: float, high: float) -> bool:
    """True when all that is done with a value is to move its elements into pairs of no larger range."""
    return not value.is_output and all(_reads_saturated(use, value, low, high) for use in value.uses)


def _reads_saturated(use: Use, value: Value, low: float, high: float) -> bool:
    node = use.node
    if node.graph is not value.graph:
        return False
    if node.op in _SIZES:
        return True
    if is_quantize(node):
        pair = next((_pair(later.node) for later in node.output.uses if is_dequantize(later.node)), None)
        return isinstance(pair, Pair) and low <= pair.range[0] and pair.range[1] <= high
    if node.op not in _MOVERS or node.domain or (use.index > 0 and node.op != "Concat"):
        return False
    return all(v is None or _saturated_later(v, low, high) for v in node.outputs)


def _clip(graph: Graph, pair: Pair) -> Value:
    """The source between the bounds of the range, in the type in which the pair gives it."""
    low, high = pair.range
    kind = pair.dequantize.output.tensor
    source, name = pair.source, graph.unique_node_name(f"{pair.source.name}.clip")
    inputs, attributes = [source], {}
    if graph.opsets.get("", _CLIP_INPUTS_SINCE) < _CLIP_INPUTS_SINCE:
        attributes = {"min": low, "max": high}
    else:
        number = (kind.dtype or source.tensor.dtype or DType.F32).numpy or np.dtype(np.float32)
        bounds = (("min", low), ("max", high))
        inputs += [graph.constant(Constant.of(np.asarray(b, number)), f"{name}.{end}") for end, b in bounds]
    result = TensorType(kind.dtype or source.tensor.dtype, kind.shape or source.tensor.shape)
    output = graph.unique_value_name(name)
    node = graph.add(
        "Clip",
        inputs,
        name=name,
        outputs=[output],
        types=[result],
        attributes=attributes,
        before=pair.quantize,
    )
    return node.output
