"""Outputs of a model that are rounded: a quant behind each, and an Identity that returns it by its name."""

from __future__ import annotations

from typing import Literal

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import is_restored
from qir.ir.types import QuantSpec, TensorType
from qir.passes.rules import TargetRules

OutputPrecision = Literal["float32", "int8", "int16", "float16"]
"""What outputs are rounded to; float32: they stay as they are."""
_TYPES = {"int8": DType.I8, "int16": DType.I16, "float16": DType.F16}


def check_outputs(precision: OutputPrecision, rules: TargetRules) -> None:
    """ConfigError when the target cannot round outputs so."""
    if precision != "float32" and precision not in rules.outputs:
        known = ", ".join(rules.outputs)
        has = f"only as {known}" if known else "but only those that layers read"
        raise ConfigError(f"outputs: target '{rules.name}' does not round outputs to {precision}, {has}")


def round_outputs(graph: Graph, precision: OutputPrecision) -> bool:
    """Round float outputs that nodes make and that are not rounded yet; True when there are any."""
    if precision == "float32":
        return False
    kind = _TYPES[precision]
    found = False
    for i, value in enumerate(graph.outputs):
        if _is_rounded(value) or not _is_float(value) or value.producer is None:
            continue
        spec = QuantSpec(kind, symmetric=not kind.is_integer)
        graph.set_output(i, _restored(graph, value, spec))
        found = True
    return found


def _restored(graph: Graph, value: Value, spec: QuantSpec) -> Value:
    """The rounded value under the name of the value, which gets another."""
    name, kind = value.name, value.tensor
    graph.rename(value, graph.unique_value_name(f"{name}.exact"))
    quant = graph.unique_value_name(f"{name}.q")
    rounded = graph.add(
        "quant", [value], domain="qir", name=quant, outputs=[quant], types=[kind.with_quant(spec)]
    ).output
    node = graph.unique_node_name(f"{name}.restored")
    return graph.add("Identity", [rounded], name=node, outputs=[name], types=[kind]).output


def _is_rounded(value: Value) -> bool:
    return value.producer is not None and is_restored(value.producer)


def _is_float(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype in (DType.F32, DType.F16)
