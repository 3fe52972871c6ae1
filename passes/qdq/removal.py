"""Takes pairs away that feed float computation.

A pair rounds and saturates. Where its reader computes in float on the target, the pair goes and with it the
rounding. The saturation stays, as a Clip to the numbers between which the pair can represent anything:
quantizers drop a Relu or Clip in front of a pair that saturates alike, so it may be part of the model. No
Clip is put where the value is within the range anyway, or is saturated no less by what follows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Use, Value
from qir.ir.types import QuantParams, TensorType
from qir.passes.context import RewriteLog
from qir.passes.qdq.constants import LAYOUT
from qir.passes.qdq.factors import is_quantize
from qir.passes.qdq.pairs import PAIR, SIZES, Pair, Pairs, rounded_later, value_range
from qir.passes.qdq.restored import keep_obstacle

Floats = npt.NDArray[np.float32]
_CLIP_INPUTS_SINCE = 11
_UNIT = ("HardSigmoid", "Sigmoid", "Softmax")
_INFINITY = float("inf")


def remove_pairs(graph: Graph, pairs: Pairs, log: RewriteLog) -> None:
    """Take away the pairs, in running order: let what still reads them read floats."""
    for pair in pairs.values():
        if isinstance(pair, str) or pair.dequantize.graph is None:  # kept
            continue
        result = pair.dequantize.output
        readers = [u for u in result.uses if not is_quantize(u.node) and u.node.op not in SIZES]
        if readers or result.is_output:
            obstacle = keep_obstacle(pair)
            why = "" if obstacle is None else f", and {obstacle}"
            log.refused(PAIR, pair.quantize.name, f"{_readers(readers, result)} in float{why}")
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
    (low, high), half = value_range(pair.params), pair.params.scale_array() / 2
    smallest, largest = _bounds(pair.source)  # what is beyond the range by half a step is only rounded
    if (low - half <= smallest).all() and (largest <= high + half).all():
        return pair.source
    if pair.params.spec.axis is not None:
        return _clip_channels(graph, pair)
    later = rounded_later(pair.dequantize.output, lambda p: _is_within(p, float(low[0]), float(high[0])))
    return pair.source if later else _clip(graph, pair)


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


def _is_within(params: QuantParams, low: float, high: float) -> bool:
    smallest, largest = value_range(params)
    return bool((low <= smallest).all() and (largest <= high).all())


def _clip(graph: Graph, pair: Pair) -> Value:
    """The source between the bounds of the range."""
    low, high = (array.reshape(()) for array in value_range(pair.params))
    if graph.opsets.get("", _CLIP_INPUTS_SINCE) >= _CLIP_INPUTS_SINCE:
        return _saturate(graph, pair, "Clip", pair.source, {"min": low, "max": high})
    return _saturate(graph, pair, "Clip", pair.source, {}, {"min": float(low), "max": float(high)})


def _clip_channels(graph: Graph, pair: Pair) -> Value:
    """The same where each channel has bounds of its own."""
    axis, shape = pair.params.spec.axis, pair.source.tensor.shape
    assert axis is not None
    assert shape is not None  # or there would be no pair
    low, high = (array.reshape(-1, *[1] * (len(shape) - 1 - axis)) for array in value_range(pair.params))
    above = _saturate(graph, pair, "Max", pair.source, {"min": low})
    return _saturate(graph, pair, "Min", above, {"max": high})


def _saturate(
    graph: Graph,
    pair: Pair,
    op: str,
    source: Value,
    bounds: Mapping[str, Floats],
    attributes: Mapping[str, float] | None = None,
) -> Value:
    """A node `<source>.clip` with `bounds` as constants, in the type in which the pair gives its result."""
    made, name = pair.dequantize.output.tensor, graph.unique_node_name(f"{pair.source.name}.clip")
    dtype = made.dtype or source.tensor.dtype or DType.F32
    limits = [graph.constant(bound.astype(dtype.numpy), f"{name}.{end}") for end, bound in bounds.items()]
    node = graph.add(
        op,
        [source, *limits],
        name=name,
        outputs=[graph.unique_value_name(name)],
        types=[TensorType(dtype, made.shape or source.tensor.shape)],
        attributes=attributes,
        before=pair.quantize,
    )
    return node.output
