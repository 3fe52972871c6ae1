"""The resolved table: what was asked of each operand, what it has in the end, and why where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from qir.config.grants import Grant, grants, requested
from qir.config.layers import Model
from qir.config.settings import LayerSettings, QuantConfig
from qir.config.type_words import type_word
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_quant, is_restored
from qir.passes.left_float import FLOAT
from qir.passes.rules import LAYER_PRECISIONS
from qir.passes.searching.scores import Raised, raised_layers

UNASKED = "-"
"""In place of a precision: the configuration leaves it to the pipeline, or there is nothing to store."""


@dataclass(frozen=True)
class Row:
    """One operand: `input0`, `input1`, …, `output`, or `all` of a node that a target never quantizes.

    `requested` and `granted` are types as `int8`, `float32`; `reason` is empty where nothing is to be said.
    """

    node: str
    operand: str
    requested: str
    granted: str
    reason: str = ""

    def fields(self) -> dict[str, str]:
        """As in JSON."""
        return asdict(self)


def rows(config: QuantConfig, model: Model, graph: Graph) -> tuple[Row, ...]:
    """The table of a graph behind its insert-quants, later passes included.

    Every layer that can be quantized, then nodes that cannot be although they are layers, or although the
    configuration names them, then the outputs of the model if it asks for their type. What is granted is
    read off the graph. Of a layer that a search was to raise, that is what was requested.
    """
    raised = raised_layers(graph)
    found: list[Row] = []
    for name, grant in grants(config, model).items():
        if name in raised:
            found += _raised_rows(grant, raised[name], model, graph)
        else:
            found += _layer_rows(grant, model, graph)
    for name, node in model.nodes.items():
        settings = config.layers.get(name)
        if settings is None and _is_expected(node.op, model) and graph.has_node(name):
            settings = config.types.get(node.op, LayerSettings()).over(config.default)
        if settings is not None and name not in model.layers:
            found += _float_rows(name, settings, model, graph)
    return (*found, *_output_rows(config, model, graph))


def _is_expected(op: str, model: Model) -> bool:
    """Whether users expect such nodes to be quantized: some are, or the target says why none is."""
    return op in model.target.rules.ops or op in model.target.rules.notes


def _layer_rows(grant: Grant, model: Model, graph: Graph) -> Iterator[Row]:
    layer, asked = grant.layer, grant.requested
    node = graph.node(layer.name)
    known = [operand.index for operand in layer.operands]
    for operand in layer.operands:
        yield _row(grant, node, operand.index, requested(layer, asked, operand), model)
    for index, settings in sorted(asked.operands.items()):
        if index not in known:
            yield _row(grant, node, index, settings.precision, model)


def _raised_rows(grant: Grant, raised: Raised, model: Model, graph: Graph) -> Iterator[Row]:
    """The operands of a layer that layerwise_search was to give another type."""
    node = graph.node(grant.layer.name)
    for operand in grant.layer.operands:
        row = _row(replace(grant, shortfalls=()), node, operand.index, raised.qtype, model)
        yield replace(row, reason=raised.refused or row.reason or "raised by layerwise_search")


def _row(grant: Grant, node: Node, index: int, asked: str | None, model: Model) -> Row:
    value = node.input(index)
    granted = "float32" if value is None else type_word(value)
    said = [reason for operand, reason in grant.shortfalls if operand == index]
    is_quantized = value is not None and value.producer is not None and is_quant(value.producer)
    if FLOAT in node.metadata and asked != granted:
        said = [_float_reason(grant, node, model)]
    elif not said and asked not in (None, granted):
        said = list(_difference(grant, index, asked, granted, is_quantized, model))
    return Row(node.name, f"input{index}", asked or UNASKED, granted, "; ".join(said))


def _difference(
    grant: Grant, index: int, asked: str | None, granted: str, is_quantized: bool, model: Model
) -> Iterator[str]:
    """Why an operand has something else than what was asked, where no rule has refused that."""
    target, layer = model.target, grant.layer
    operand = next((o for o in layer.operands if o.index == index), None)
    if operand is None and is_quantized:
        yield f"target '{target.name}' adds the bias as {granted}, by the precisions of input and weight"
    elif operand is None:
        yield f"target '{target.name}' has no quantized input {index} of {layer.op}"
    elif asked == "int16" and operand is not layer.operands[0] and granted == "int8":
        yield "int16 is for the first input of a layer; int16-ec and dual-int16 raise the others, too"
    elif granted == "float16" and target.rules.whole_layers:
        yield f"another operand is to be float16, and target '{target.name}' computes whole layers so"
    elif asked not in LAYER_PRECISIONS:
        yield f"a later pass has changed it to {granted}"


def _float_reason(grant: Grant, node: Node, model: Model) -> str:
    """Why a layer is in float of which this operand was to be something else."""
    if grant.enabled or grant.requested.enabled is False:
        return node.metadata[FLOAT]
    return f"another operand is to stay in float, and target '{model.target.name}' computes whole layers so"


def _float_rows(name: str, settings: LayerSettings, model: Model, graph: Graph) -> Iterator[Row]:
    """A node that is never quantized; `-` is granted to one that is no longer there."""
    value = graph.node(name).outputs[0] if graph.has_node(name) else None
    granted = UNASKED if value is None else type_word(value)
    asked = [("all", settings.inputs.precision)]
    asked += [(f"input{i}", s.precision) for i, s in sorted(settings.operands.items())]
    for operand, precision in asked:
        if precision is not None:
            yield Row(name, operand, precision, granted, "" if precision == granted else model.floats[name])


def _output_rows(config: QuantConfig, model: Model, graph: Graph) -> Iterator[Row]:
    for name, kind in model.outputs.items() if config.outputs is not None else ():
        granted = _rounded_to(name, graph) or kind
        reason = f"target '{model.target.name}' returns outputs in the types of the float model"
        asked = str(config.outputs)
        yield Row(name, "output", asked, granted, "" if asked == granted else reason)


def _rounded_to(name: str, graph: Graph) -> str | None:
    """How an output is stored that a node makes; None where it is not rounded."""
    made = graph.node(name).outputs if graph.has_node(name) else ()
    quants = (use.node for value in made if value is not None for use in value.uses if is_quant(use.node))
    for quant in quants:
        if any(is_restored(use.node) and use.node.output.is_output for use in quant.output.uses):
            return type_word(quant.output)
    return None
