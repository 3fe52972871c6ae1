"""How a layer stands in the report: its precisions, scales and ranges, read off the quantized graph."""

from __future__ import annotations

import json

from qir.config.type_words import type_word
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import bias_add, is_quant, quant_of, unquantized
from qir.ir.types import QuantParams
from qir.passes.correct_bias import BIAS_CORRECTION
from qir.report.layers import LayerReport
from qir.report.plain import Entries, cleaned, plain
from qir.runtime.compare import OutputComparison

_WEIGHT = 1


def layer_entry(layer: LayerReport, graph: Graph, total: int) -> Entries:
    """One row of the layer table. `total` is the number of multiply-accumulates of all layers, 0: unknown.

    What does not apply, or is unknown, is None. `low` and `high` are the real numbers that the least and the
    greatest integer of the input stand for: its threshold.
    """
    share = layer.macs / total if layer.macs is not None and total else None
    entry: Entries = {
        "name": layer.name,
        "op": layer.op,
        "precision": layer.precision,
        "is_quantized": layer.is_quantized,
        "input": None,
        "weight": None,
        "output": None,
        "macs": layer.macs,
        "mac_share": share,
        "reason": layer.reason,
        "cumulative": None,
        "isolated": None,
        "bias_correction": None,
    }
    if graph.has_node(layer.name):  # nodes within control flow are listed, but stay as they are
        node = graph.node(layer.name)
        entry["input"] = _input(node.input(0))
        entry["weight"] = _weight(node.input(_WEIGHT))
        entry["output"] = output_precision(node)
        if BIAS_CORRECTION in node.metadata:
            entry["bias_correction"] = cleaned(json.loads(node.metadata[BIAS_CORRECTION]))
    return entry


def similarity_entry(found: OutputComparison | None) -> Entries | None:
    """How near a result is to the float one."""
    return None if found is None else {"cosine": plain(found.cosine), "sqnr": plain(found.sqnr)}


def _input(value: Value | None) -> Entries | None:
    if value is None:
        return None
    entry: Entries = {
        "tensor": unquantized(value).name,
        "precision": type_word(value),
        "scale": None,
        "zero_point": None,
        "low": None,
        "high": None,
    }
    span = range_of(quant_of(value))
    if span is not None:
        entry |= dict(zip(("scale", "zero_point", "low", "high"), span, strict=True))
    return entry


def range_of(quant: object) -> tuple[float, int, float, float] | None:
    """(scale, zero point, lowest and highest real number) of a closed quant of integers with one scale."""
    if not isinstance(quant, QuantParams) or len(quant.scale) != 1 or not quant.spec.qtype.is_integer:
        return None
    (scale,), (zero,) = quant.scale, quant.zero_point
    least, most = quant.spec.qtype.integer_range
    return scale, zero, (least - zero) * scale, (most - zero) * scale


def _weight(value: Value | None) -> Entries | None:
    """The weight: a second operand that is constant, or quantized anyway."""
    if value is None or (quant_of(value) is None and value.constant is None):
        return None
    quant = quant_of(value)
    scales = quant.scale if isinstance(quant, QuantParams) else ()
    entry: Entries = {"precision": type_word(value), "scales": len(scales)}
    least, most = (min(scales), max(scales)) if scales else (None, None)
    return {**entry, "least_scale": least, "greatest_scale": most}


def output_precision(layer: Node) -> str | None:
    """In what precision all readers get the result of a layer."""
    node = bias_add(layer) or layer
    result = node.outputs[0] if node.outputs else None
    if result is None:
        return None
    words = {type_word(use.node.output) for use in result.uses if is_quant(use.node)}
    only_quants = all(is_quant(use.node) for use in result.uses) and not result.is_output
    return words.pop() if only_quants and len(words) == 1 else type_word(result)
