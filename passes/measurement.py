"""Where `calibrate` gets its statistics: given, taken before in the same run, or from the data now.

They are taken of every value that the target could quantize, whatever the pipeline leaves in float and
however many bits it wants: what ONNX Runtime fuses, and with it the last bit of every value, depends on the
tapped values. Another skip list, method or width therefore finds the same statistics, in a file or anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, PassError
from qir.ir.fingerprint import Fingerprint, fingerprint_of
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_coarse, is_quant
from qir.ir.types import QuantSpec
from qir.passes.context import Context
from qir.passes.float_graph import float_graph, weight_configuration, with_quantized_weights
from qir.passes.rules import TargetRules
from qir.runtime.collect import Taps, collect
from qir.runtime.statistics_file import Statistics

_FLOATS = (None, DType.F16, DType.F32, DType.F64)
Weights = Literal["float", "quantized"]


def statistics_for(
    graph: Graph, context: Context, quants: Sequence[Node], weights: Weights, exact: bool = False
) -> Statistics:
    """Statistics of the values behind open `quants` of the graph, for `calibrate{weights=… exact=…}`.

    Those of the context where it has some, which must be of this graph: CalibrationError tells what differs,
    or which value they lack. Otherwise they are taken from the context's data, and kept in the context;
    PassError without data. Exact ones hold the values themselves, which only data can give.
    """
    fingerprint = fingerprint_of(graph)
    configuration = weight_configuration(graph) if weights == "quantized" else None
    fitting = (s for s in context.collected if _serve(s, fingerprint, configuration, quants))
    found = next((s for s in fitting if not exact or _are_exact(s, quants)), None)
    if exact and found is None and context.data is None:
        raise PassError("calibrate{exact=true} needs the data themselves: pass --data DATA (or Context.data)")
    if found is None and context.statistics is not None and not exact:
        context.statistics.check(fingerprint, configuration)
        found = context.statistics
    if found is None:
        found = _taken(graph, context, fingerprint, configuration, exact)
    if all(kept is not found for kept in context.collected):
        context.collected.append(found)
    _check_complete(found, quants)
    return found


def take_statistics(graph: Graph, context: Context, weights: Weights) -> Statistics:
    """Statistics of all values that the target could quantize, for a graph as `calibrate` would get it."""
    return statistics_for(graph, context, open_activation_quants(graph), weights)


def open_activation_quants(graph: Graph) -> list[Node]:
    """The open quants of values that are not constants, in running order."""
    return [
        node
        for node in graph.nodes
        if is_quant(node)
        and isinstance(node.output.tensor.quant, QuantSpec)
        and (node.inputs[0] is None or node.inputs[0].constant is None)
    ]


def quantizable_values(graph: Graph, rules: TargetRules | None) -> dict[str, list[str]]:
    """The inputs of all layers that the target could quantize in a float graph, by name, with the layers."""
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        rule = rules.ops.get(node.op) if rules is not None and node.domain in ("", "ai.onnx") else None
        if rule is None or rule.refuse(node) is not None:
            continue
        for operand in rule.operands:
            value = None if operand.role == "bias" else node.input(operand.index)
            if value is not None and value.constant is None and value.tensor.dtype in _FLOATS:
                found.setdefault(value.name, []).append(node.name)
    return found


def _serve(
    statistics: Statistics,
    fingerprint: Fingerprint,
    weights: Mapping[str, str] | None,
    quants: Sequence[Node],
) -> bool:
    """Whether statistics of this very run can be used again: at most, layers have gone back to float."""
    before = statistics.origin.weights
    same = before == weights or (before and weights and weights.items() <= before.items())
    return (
        bool(same) and statistics.origin.graph == fingerprint and all(_name(q) in statistics for q in quants)
    )


def _are_exact(statistics: Statistics, quants: Sequence[Node]) -> bool:
    return all(statistics[_name(quant)].is_raw for quant in quants)


def _taken(
    graph: Graph,
    context: Context,
    fingerprint: Fingerprint,
    configuration: Mapping[str, str] | None,
    exact: bool,
) -> Statistics:
    if context.data is None:
        raise PassError(
            "calibrate needs data: pass --data DATA (or Context.data), or statistics that were taken before "
            "(`qir quantize --stats`, Context.statistics)"
        )
    floats = float_graph(graph if configuration is None else with_quantized_weights(graph))
    possible = quantizable_values(floats, context.rules)
    wanted = _wanted(graph)
    layers = {name: (*wanted.get(name, ()), *possible.get(name, ())) for name in wanted | possible}
    taps = Taps(
        floats,
        tuple(floats.value(name) for name in layers),
        frozenset(name for name in layers if name not in wanted),
        frozenset(wanted if exact else ()),
        {name: tuple(dict.fromkeys(readers)) for name, readers in layers.items()},
    )
    measured = (context.collect or collect)(taps, context.data, context.progress)
    return Statistics.of(measured, fingerprint, configuration)


def _wanted(graph: Graph) -> dict[str, list[str]]:
    """The values behind open quants, with the layers that read these."""
    found: dict[str, list[str]] = {}
    for node in open_activation_quants(graph):
        if is_coarse(node):
            continue
        found.setdefault(_name(node), []).extend(use.node.name for use in node.output.uses)
    return found


def _check_complete(statistics: Statistics, quants: Sequence[Node]) -> None:
    for node in quants:
        try:
            statistics[_name(node)]
        except CalibrationError as error:
            layers = ", ".join(f"'{use.node.name}'" for use in node.output.uses)
            raise CalibrationError(f"input of {layers}: {error}") from error


def _name(quant: Node) -> str:
    value: Value | None = quant.inputs[0]
    assert value is not None, f"quant '{quant.name}' reads nothing; verify would have refused it"
    return value.name
