"""Keeps pairs that feed float computation: the value is rounded there and restored.

    x -> QuantizeLinear -> DequantizeLinear -> Mul      ->      x -> qir.quant -> Identity -> Mul

So the numbers stay those of the model. INT8 of one scale can be kept. A pair that rounds nothing goes, and no
number changes: what it reads was rounded by the same parameters before, or whoever reads it does the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import quant_of
from qir.ir.types import QuantParams, TensorType
from qir.passes.context import RewriteLog
from qir.passes.qdq.constants import LAYOUT
from qir.passes.qdq.factors import has_inverse
from qir.passes.qdq.layers import Quants
from qir.passes.qdq.pairs import PAIR, Pair, rounded_later

_SELECTING = LAYOUT | {"Gather", "MaxPool", "Slice", "Split"}
"""Ops whose results have elements of input 0 and no others."""

Restored = Mapping[Pair, Node]
"""Pair -> the Identity of its quant."""


def keep_obstacle(pair: Pair) -> str | None:
    """Why a pair cannot be kept between float ops, or None."""
    spec, dtype = pair.params.spec, pair.source.tensor.dtype
    if spec.axis is not None:
        return "it has one scale per channel"
    if spec.qtype is not DType.I8:
        return f"it rounds to {spec.qtype.value}, not int8"
    if dtype not in (DType.F32, None):
        return f"it rounds {dtype.value}, not float32"
    return None if has_inverse(pair.params) else "float32 cannot hold the inverse of its scale"


def restore(graph: Graph, quants: Quants, pair: Pair) -> Node:
    """The Identity of the quant for which a pair stands, in the pair's place; nobody reads it yet."""
    name = graph.unique_node_name(f"{pair.source.name}.restored")
    made = pair.dequantize.output.tensor
    node = graph.add(
        "Identity",
        [pair.source],
        name=name,
        outputs=[graph.unique_value_name(name)],
        types=[TensorType(DType.F32, made.shape or pair.source.tensor.shape)],
        before=pair.dequantize,
    )
    quants.quantize_tensor(node, 0, pair)
    return node


def read_restored(graph: Graph, restored: Restored, log: RewriteLog) -> None:
    """Let what still reads these pairs, in running order, read restored values; needless ones just go."""
    for pair, node in restored.items():
        result = pair.dequantize.output
        if rounded_later(result, pair.params.__eq__) or _is_rounded(pair.source, pair.params):
            _erase_unread(graph, node)
            graph.replace(result, pair.source)
        else:
            graph.replace(result, node.output)
            log.applied(PAIR, pair.quantize.name)
        graph.erase(pair.dequantize)
        if not pair.quantize.output.is_read:
            graph.erase(pair.quantize)


def _erase_unread(graph: Graph, node: Node) -> None:
    quant = node.inputs[0]
    graph.erase(node)
    if quant is not None and quant.producer is not None and not quant.is_read:
        graph.erase(quant.producer)


def _is_rounded(value: Value, params: QuantParams) -> bool:
    """True when the elements of a value were rounded by these parameters and only moved since."""
    while quant_of(value) is None:
        node = value.producer
        first = None if node is None or node.domain or node.op not in _SELECTING else node.input(0)
        if first is None:
            return False
        value = first
    return quant_of(value) == params
