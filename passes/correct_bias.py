"""Adds to biases what quantization takes from the mean of each output channel: bias correction.

Layer by layer in running order: correction = mean over samples of (float output - quantized output) per
output channel, where the layers before are quantized and corrected already. It is added to the bias, which is
created when absent, and kept only if the metric of the layer's output improves; all of them are kept only if
the model's outputs improve. `runtime/bias_correction.py` says how it is measured and what it costs.

It goes between calibrate and quantize-bias: scales must be there, and the bias must still be open, for its
integers are then those of the corrected bias.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import bias_add_candidate, operand_precision, quantized_layers, unquantized
from qir.ir.types import QuantParams
from qir.passes.base import Pass
from qir.passes.constants import write_operand
from qir.passes.context import Context
from qir.passes.insertion.quant_nodes import read_precision, read_quant
from qir.passes.insertion.selection import rule_of
from qir.passes.insertion.specs import bias_type
from qir.runtime.bias_correction import Correction, Output, measure_corrections
from qir.runtime.metrics import metric_named

BIAS_CORRECTION = "qir.bias_correction"
"""Metadata key of a layer: JSON of metric, samples, the scores before and after, and whether it was kept."""
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class CorrectBias(Pass):
    """Correct the biases of quantized layers by the mean error of their outputs on some samples."""

    name: ClassVar[str] = "correct-bias"
    samples: int = 8
    metric: str = "cosine-similarity"

    def __post_init__(self) -> None:
        metric_named(self.metric)
        if self.samples < 1:
            raise ConfigError(f"samples must be at least 1, not {self.samples}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Correct layers whose inputs and weights have scales; PassError without data, rules or open biases.

        A graph in which layers were corrected before is left as it is.
        """
        layers = [node for node in quantized_layers(graph) if node.op in _LAYERS and _has_weight(node)]
        if not layers or any(BIAS_CORRECTION in node.metadata for node in layers):
            return False
        self._check(layers, context)
        assert context.data is not None
        metric = metric_named(self.metric)
        found = measure_corrections(
            graph,
            [_output(node) for node in layers],
            context.data,
            metric,
            samples=self.samples,
            progress=context.progress,
        )
        helps = metric.is_better(found.after, found.before)
        if not helps:
            context.rewrites.refused(
                self.name, graph.name, f"the model's outputs get no better: {found.before} -> {found.after}"
            )
        for node in layers:
            correction = found.layers[node.name]
            kept = correction.kept and helps
            scores = {"before": correction.before, "after": correction.after, "kept": kept}
            note = {"metric": self.metric, "samples": found.samples, **scores}
            node.metadata[BIAS_CORRECTION] = json.dumps(note)
            if kept:
                _add(graph, node, correction, context)
                context.rewrites.applied(self.name, node.name)
            elif not correction.kept:
                scored = f"{correction.before} -> {correction.after}"
                context.rewrites.refused(self.name, node.name, f"its output gets no better: {scored}")
        return True

    def _check(self, layers: list[Node], context: Context) -> None:
        if context.data is None:
            raise PassError("correct-bias needs data: pass --data DATA (or Context.data)")
        if context.rules is None:
            raise PassError("correct-bias needs the rules of a target: pass --target (or Context.rules)")
        for node in layers:
            reader, index = _bias_operand(node)
            precision = operand_precision(reader, index)
            if (
                precision is not None
                and isinstance(precision.quant, QuantParams)
                and precision.qtype.is_integer
            ):
                raise PassError(
                    f"the bias of layer '{node.name}' is closed; run correct-bias before quantize-bias"
                )
            bias = reader.input(index)
            if bias is not None and unquantized(bias).constant is None:
                raise PassError(f"the bias of layer '{node.name}' is not constant; skip it in insert-quant")


def _has_weight(layer: Node) -> bool:
    weight = layer.input(1)
    return weight is not None and unquantized(weight).constant is not None


def _bias_operand(layer: Node) -> tuple[Node, int]:
    """Where the bias of a layer stands, or would stand: a MatMul has it in the Add behind it, if any."""
    add = bias_add_candidate(layer)
    return (layer, 2) if add is None else (add, 1)


def _output(layer: Node) -> Output:
    axis = -1 if layer.op in ("Gemm", "MatMul") else 1
    return Output(layer.name, layer.op, _bias_operand(layer)[0].output.name, axis)


def _add(graph: Graph, layer: Node, correction: Correction, context: Context) -> None:
    """Add a correction to the bias of a layer."""
    weight = layer.inputs[1]
    assert weight is not None
    held = unquantized(weight).constant
    assert held is not None
    beta = layer.attributes.get("beta", 1.0)
    assert isinstance(beta, (int, float))
    shift = correction.shift / (beta or 1.0)
    reader, index = _bias_operand(layer)
    value = reader.input(index)
    if value is None or (reader.op == "MatMul" and index == 2):
        _create(graph, layer, shift.astype(held.array.dtype), context)
        return
    old = unquantized(value).constant
    assert old is not None
    data = Constant.of((old.array.astype(np.float64) + shift).astype(old.array.dtype))
    quant = operand_precision(reader, index)
    if quant is None or (value.producer is not None and not value.has_one_use):
        reader.set_input(index, graph.constant(data, f"{layer.name}.bias"))
        if quant is not None:
            read_precision(graph, reader, index, quant, {})
        return
    assert value.producer is not None
    write_operand(value.producer, 0, data, f"{layer.name}.bias")


def _create(graph: Graph, layer: Node, bias: npt.NDArray[np.generic], context: Context) -> None:
    """Give a layer a bias, open like those of other layers."""
    assert context.rules is not None
    rule = rule_of(layer, context.rules)
    operand = None if rule is None else rule.operand("bias")
    value = graph.constant(Constant.of(bias), f"{layer.name}.bias")
    reader, index = layer, 2
    if layer.op == "MatMul":
        reader, index = _insert_add(graph, layer), 1
    while len(reader.inputs) < index:
        reader.set_input(len(reader.inputs), None)
    reader.set_input(index, value)
    if operand is not None and bias_type(layer) is DType.I32:
        read_quant(graph, reader, index, operand.spec(layer), {})


def _insert_add(graph: Graph, layer: Node) -> Node:
    """An Add behind a MatMul, whose result takes over name and readers; its input 1 is still missing."""
    result = layer.output
    nodes = graph.nodes
    place = nodes.index(layer) + 1
    name = graph.unique_node_name(f"{layer.name}.bias")
    add = graph.add(
        "Add",
        [None],
        name=name,
        outputs=[graph.unique_value_name(f"{result.name}.biased")],
        types=[result.type],
        before=nodes[place] if place < len(nodes) else None,
    )
    final = result.name
    returned = result.is_output
    graph.replace(result, add.output)
    if not returned:
        graph.rename(result, graph.unique_value_name(f"{final}.unbiased"))
        graph.rename(add.output, final)
    add.set_input(0, result)
    return add
