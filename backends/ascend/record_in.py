"""Puts a scale-offset record into a float graph: quantized types as calibration gives them, without data.

The graph must have been through the fusions for which the record was made. What a record asks and the model
cannot have is an error, never a silent change: the record was tuned as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np

from qir.backends.ascend.balance import balance
from qir.backends.ascend.record import SKIP_FUSION, LayerRecord
from qir.backends.ascend.record_params import (
    accumulator_scale,
    activation_params,
    check_weightless,
    weight_params,
)
from qir.backends.ascend.rules import RULES
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, PassError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import bias_add_candidate, is_quant, operand_precision
from qir.ir.types import QuantParams, QuantSpec
from qir.ir.walk import walk_nodes
from qir.passes.context import RewriteLog
from qir.passes.insert_quant import refuse_quantized_models
from qir.passes.left_float import note_bodies, note_float
from qir.passes.rules import OpRule

KIND = "apply-record"
"""The kind of these rewrites in the log."""


def check_keys(graph: Graph, records: Mapping[str, LayerRecord]) -> None:
    """BackendError unless every key names a node of the model, and the model is a float model."""
    if any(is_quant(node) for node in walk_nodes(graph)):
        raise PassError("the model already has quants; a record is put into the float model")
    refuse_quantized_models(graph)
    names = {node.name: None for node in walk_nodes(graph)}
    for key, record in records.items():
        name, _ = _place(key, record)
        if name not in names:
            raise BackendError(
                f"cannot find layer '{name}' in the model; match model and record{did_you_mean(name, names)}"
            )


def unfused_layers(graph: Graph, records: Mapping[str, LayerRecord]) -> tuple[str, ...]:
    """The layers that the record wants to keep apart from a BatchNormalization behind them."""
    return tuple(
        node.name
        for node in walk_nodes(graph)
        if node.name in records and records[node.name].skip_fusion and _has_weight(node)
    )


def apply(graph: Graph, records: Mapping[str, LayerRecord], log: RewriteLog) -> None:
    """Quantize in place exactly what `records` has, as it says; everything else stays float.

    BackendError names the layer and the field that do not fit.
    """
    _check_still_there(graph, records)
    tensors: dict[str, dict[int, LayerRecord]] = {}
    for key, record in records.items():
        name, index = _place(key, record)
        if index is not None:
            tensors.setdefault(name, {})[index] = record
    for node in graph.nodes:
        rule = _rule(node)
        if node.name in records:
            _apply_layer(graph, node, rule, records[node.name])
            log.applied(KIND, node.name)
        elif rule is not None or node.op in RULES.notes:
            reason = RULES.notes[node.op] if rule is None else rule.refuse(node)
            note_float(node, reason or "the record does not have it")
        for index, record in sorted(tensors.get(node.name, {}).items()):
            _apply_tensor(graph, node, index, record)
            log.applied(KIND, f"{node.name}:{index}")
    note_bodies(graph, RULES)


def _place(key: str, record: LayerRecord) -> tuple[str, int | None]:
    """The layer of a key, and the input for tensor quantization."""
    if not record.is_tensor_quantize:
        return key, None
    name, separator, index = key.rpartition(":")
    if not separator or not index.isdecimal():
        raise BackendError(
            f"the key '{key}' of a tensor quantization should be 'layer:input', as in 'pool:0'"
        )
    return name, int(index)


def _rule(node: Node) -> OpRule | None:
    return RULES.ops.get(node.op) if node.domain in ("", "ai.onnx") else None


def _has_weight(node: Node) -> bool:
    rule = _rule(node)
    return rule is not None and rule.operand("weight") is not None


def _check_still_there(graph: Graph, records: Mapping[str, LayerRecord]) -> None:
    top = {node.name for node in graph.nodes}
    bodies = {node.name for node in walk_nodes(graph)}
    for key, record in records.items():
        name, _ = _place(key, record)
        if name in top:
            continue
        if name in bodies:
            raise BackendError(f"layer {name} cannot be quantized: it stands in a body, which runs in float")
        for node in walk_nodes(graph):
            if name in json.loads(node.metadata.get("qir.fused", "[]")):
                raise BackendError(
                    f"layer {name} cannot be quantized: it has been folded into '{node.name}'; name that "
                    "layer, or set skip_fusion"
                )
        raise BackendError(
            f"layer {name} cannot be quantized: the pipeline has removed it, for its result is constant, "
            "not needed, or that of another node"
        )


def _apply_layer(graph: Graph, node: Node, rule: OpRule | None, record: LayerRecord) -> None:
    if rule is None:
        reason: str | None = RULES.notes.get(node.op, f"Ascend has no integer form of {node.op}")
    else:
        reason = rule.refuse(node)
    if rule is None or reason is not None:
        raise BackendError(f"layer {node.name} cannot be quantized: {reason}")
    activation = activation_params(node, rule, record)
    weight = rule.operand("weight")
    if weight is None:
        check_weightless(node, record)
        node.set_input(0, _quantized(graph, _input(node, 0), activation, node))
        return
    bias = bias_add_candidate(node) if node.op == "MatMul" else node
    if record.tensor_balance_factor:
        balance(graph, node, record.tensor_balance_factor)
    params = weight_params(node, rule, weight.spec(node), record)
    node.set_input(0, _quantized(graph, _input(node, 0), activation, node))
    node.set_input(1, _quantized(graph, _input(node, 1), params, node))
    scale = accumulator_scale(node, activation, params)
    index = 1 if node.op == "MatMul" else 2
    if bias is not None and bias.input(index) is not None:
        _quantize_bias(graph, node, bias, index, scale)
    if record.skip_fusion:
        node.metadata[SKIP_FUSION] = "true"


def _quantize_bias(graph: Graph, layer: Node, reader: Node, index: int, params: QuantParams) -> None:
    """Let `reader` read its bias as int32; each reader has a quant of its own, for scales rarely agree."""
    value = _input(reader, index)
    assert value.constant is not None, "rules refuse layers whose bias is computed"
    bias = value.constant.array.astype(np.float64).reshape(-1)
    steps = np.rint(bias / params.scale_array().astype(np.float64))
    bad = np.flatnonzero(~((steps >= -(2**31)) & (steps < 2**31)))
    if bad.size:
        c = int(bad[0])
        raise BackendError(
            f"do bias quantize failed: quantized bias {steps[c]:.0f} of layer '{layer.name}', channel {c}, "
            "exceeds the int32 range; widen its scale_w or take the layer out of the record"
        )
    reader.set_input(index, _new_quant(graph, value, params, reader))


def _apply_tensor(graph: Graph, node: Node, index: int, record: LayerRecord) -> None:
    check = RULES.tensors.get(node.op) if node.domain in ("", "ai.onnx") else None
    reason = f"{node.op} has no such form" if check is None else check(node, index)
    if reason is None and any(_is_bias(node, i) for i in range(len(node.inputs))):
        reason = "it adds the bias of a quantized layer"
    if reason is not None:
        raise BackendError(f"input {index} of layer '{node.name}' cannot be quantized: {reason}")
    if record.act_type != "INT8":
        raise BackendError(
            f"act_type of layer '{node.name}:{index}' should be INT8 for tensor quantization, "
            f"not {record.act_type}"
        )
    params = QuantParams.of(QuantSpec(DType.I8, symmetric=False), record.scale_d, record.offset_d)
    node.set_input(index, _quantized(graph, _input(node, index), params, node))


def _is_bias(node: Node, index: int) -> bool:
    quant = operand_precision(node, index)
    return quant is not None and quant.qtype is DType.I32


def _quantized(graph: Graph, value: Value, params: QuantParams, before: Node) -> Value:
    """`value` under `params`; readers come in running order, so a quant that is there stands in front."""
    return next(_quants(graph, value, params), None) or _new_quant(graph, value, params, before)


def _quants(graph: Graph, value: Value, params: QuantParams) -> Iterator[Value]:
    for node, _ in value.uses:
        if is_quant(node) and node.graph is graph and node.output.tensor.quant == params:
            yield node.output


def _new_quant(graph: Graph, value: Value, params: QuantParams, before: Node) -> Value:
    name = graph.unique_value_name(f"{value.name}.q")
    kind = value.tensor.with_quant(params)
    return graph.add(
        "quant", [value], domain="qir", name=name, outputs=[name], types=[kind], before=before
    ).output


def _input(node: Node, index: int) -> Value:
    value = node.inputs[index]
    assert value is not None
    return value
