"""Reads the integer layers out of a deploy graph, and checks that integers go nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import QuantSpec
from qir.ir.walk import walk_nodes
from qir.runtime.deploy.fields import array_field, describe
from qir.runtime.deploy.ops import (
    ANTI_QUANT,
    DEQUANT,
    QUANT,
    AntiQuantStep,
    DequantStep,
    QuantStep,
    is_op,
    read_anti_quant,
    read_dequant,
    read_quant,
)

POOL = "AveragePool"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOVING = ("Pad", "MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
"""Ops that may stand between AscendQuant and its reader: they move integers or choose among them."""


@dataclass(frozen=True)
class IntegerLayer:
    """One layer that computes on integers: `node`, and `last` whose result is dequantized by `dequants`.

    `weight` is [..] int8 as stored (None for AveragePool); `bias` int32 [channels] or None.
    """

    node: Node
    last: Node
    quant: QuantStep
    weight: npt.NDArray[np.int8] | None
    bias: npt.NDArray[np.int32] | None
    dequants: tuple[DequantStep, ...]

    @property
    def name(self) -> str:
        """The user's name of the layer."""
        return self.node.name

    @property
    def weight_spec(self) -> QuantSpec:
        """Where the output channels of the weight are."""
        return weight_spec(self.node)

    @property
    def groups(self) -> int:
        """The number of groups of a convolution; 1 elsewhere."""
        return _integer(self.node, "group", 1)

    @property
    def channels(self) -> int | None:
        """Number of output channels; None where there is no weight to tell."""
        return None if self.weight is None else self.weight_spec.channels(self.weight.shape)


@dataclass(frozen=True)
class DeployGraph:
    """What a deploy graph computes in integers: its layers in running order, and the steps around them."""

    layers: tuple[IntegerLayer, ...]
    quants: tuple[QuantStep, ...]
    anti_quants: tuple[AntiQuantStep, ...]
    moving: tuple[Node, ...]


def weight_spec(node: Node) -> QuantSpec:
    """Where the output channels of the weight of a layer are: one row of `channels_first` for each."""
    if node.op == "ConvTranspose":
        return QuantSpec(DType.I8, axis=1, groups=_integer(node, "group", 1))
    if node.op == "Gemm":
        return QuantSpec(DType.I8, axis=0 if _integer(node, "transB", 0) else 1)
    return QuantSpec(DType.I8, axis=0 if node.op == "Conv" else -1)


def read_layers(graph: Graph) -> DeployGraph:
    """The integer part of a deploy graph; ModelError, naming layer and field, when it makes no sense."""
    dequants: dict[Node, list[DequantStep]] = {}
    for node in graph.nodes:
        if is_op(node, DEQUANT):
            step = read_dequant(node)
            dequants.setdefault(_producer(step), []).append(step)
    quants = {node.output: read_quant(node) for node in graph.nodes if is_op(node, QUANT)}
    layers = tuple(_read_layer(last, tuple(steps), quants) for last, steps in dequants.items())
    anti = tuple(read_anti_quant(node) for node in graph.nodes if is_op(node, ANTI_QUANT))
    for each in anti:
        _check_restored(each, quant_behind(each.source, quants))
    moving = _moving(quants, {layer.node for layer in layers})
    _check_accumulators(layers)
    for node in walk_nodes(graph):
        if node.graph is not graph and is_op(node, QUANT, DEQUANT, ANTI_QUANT):
            raise ModelError(f"{describe(node)} stands in the body of an If, Loop or Scan; none may")
    return DeployGraph(layers, tuple(quants.values()), anti, moving)


def quant_behind(value: Value | None, quants: Mapping[Value, QuantStep]) -> QuantStep | None:
    """The AscendQuant whose integers `value` holds, itself or moved by other ops; None for floats."""
    while value is not None and value not in quants:
        node = value.producer
        if node is None or not is_op(node, *MOVING):
            return None
        value = node.input(0)
    return None if value is None else quants[value]


def _producer(step: DequantStep) -> Node:
    """The node whose integers are dequantized."""
    node = step.accumulator.producer
    if node is None or not is_op(node, *WEIGHTED, POOL, "Add"):
        found = f"'{step.accumulator.name}'" if node is None else describe(node)
        raise ModelError(
            f"{describe(step.node)} reads {found}, which is no integer layer; it must read the result of "
            f"{', '.join(WEIGHTED)}, {POOL}, or the Add of an int32 bias behind a MatMul"
        )
    return node


def _read_layer(
    last: Node, dequants: tuple[DequantStep, ...], quants: Mapping[Value, QuantStep]
) -> IntegerLayer:
    node, bias = last, None
    if last.op == "Add":
        node, bias = _matmul_of(last), array_field(last, 1, "bias", DType.I32)
    elif last.op not in (POOL, "MatMul") and last.input(2) is not None:
        bias = array_field(last, 2, "bias", DType.I32)
    quant = quant_behind(node.input(0), quants)
    if quant is None:
        raise ModelError(
            f"layer {describe(node)} is dequantized by an AscendDequant, but its input 0 comes from no "
            "AscendQuant"
        )
    weight = None if node.op == POOL else array_field(node, 1, "weight", DType.I8)
    layer = IntegerLayer(node, last, quant, weight, bias, dequants)
    _check_attributes(layer)
    _check_channels(layer)
    return layer


def _matmul_of(add: Node) -> Node:
    first = add.input(0)
    node = None if first is None else first.producer
    if node is None or not is_op(node, "MatMul"):
        raise ModelError(
            f"{describe(add)} is dequantized, but its input 0 is not the result of a MatMul whose int32 bias "
            "it could add"
        )
    return node


def _check_attributes(layer: IntegerLayer) -> None:
    """What integers cannot do: scale a product, transpose the input."""
    node = layer.node
    for key in ("alpha", "beta"):
        if node.op == "Gemm" and node.attributes.get(key, 1.0) != 1.0:
            raise ModelError(
                f"attribute '{key}' of layer {describe(node)} is {node.attributes[key]}; an integer layer "
                "cannot scale its sums: it must be 1.0"
            )
    if layer.weight is not None and layer.weight.ndim < 2:
        raise ModelError(
            f"the weight of layer {describe(node)} has shape {list(layer.weight.shape)}; it needs two "
            "dimensions or more"
        )


def _check_channels(layer: IntegerLayer) -> None:
    """The lengths of bias and deq_scale."""
    channels = layer.channels
    if layer.bias is not None and layer.bias.shape != (channels,):
        raise ModelError(
            f"the bias of layer {describe(layer.node)} has shape {list(layer.bias.shape)}; its weight has "
            f"{channels} output channels, so it must be [{channels}]"
        )
    for step in layer.dequants:
        size = step.params.scale.size
        allowed = (1,) if channels is None or layer.node.op == "MatMul" else (1, channels)
        if size not in allowed:
            raise ModelError(
                f"the deq_scale of {describe(step.node)} has {size} entries; layer {describe(layer.node)} "
                f"needs {' or '.join(map(str, dict.fromkeys(allowed)))}"
            )
        if layer.weight is None and (step.params.shift.any() or step.params.weight_offset.any()):
            raise ModelError(
                f"{describe(step.node)} has a shift or a weight offset; layer {describe(layer.node)} has no "
                "weight: both must be 0"
            )
    if len({step.params.weight_offset.tobytes() for step in layer.dequants}) > 1:
        raise ModelError(f"the AscendDequants of layer {describe(layer.node)} disagree on the weight offset")


def _check_restored(step: AntiQuantStep, quant: QuantStep | None) -> None:
    if quant is None:
        raise ModelError(f"{describe(step.node)} reads '{step.source.name}', which comes from no AscendQuant")


def _moving(quants: Mapping[Value, QuantStep], layers: Set[Node]) -> tuple[Node, ...]:
    """The nodes that move integers; ModelError for a reader of integers that is neither that nor a layer."""
    found: dict[Node, None] = {}
    for value, quant in quants.items():
        waiting = [value]
        while waiting:
            for node, index in waiting.pop().uses:
                if (node in layers or is_op(node, ANTI_QUANT)) and index == 0:
                    continue
                if not is_op(node, *MOVING) or index or node.graph is not value.graph:
                    raise ModelError(
                        f"input {index} of {describe(node)} reads the integers of {describe(quant.node)}, "
                        "but no AscendDequant or AscendAntiQuant follows: it would take them for real numbers"
                    )
                if node not in found:
                    found[node] = None
                    waiting.append(node.output)
    return tuple(found)


def _check_accumulators(layers: Sequence[IntegerLayer]) -> None:
    """Integer results go to AscendDequant only."""
    for layer in layers:
        steps = {step.node for step in layer.dequants} | {layer.last}
        for value in dict.fromkeys((layer.node.output, layer.last.output)):
            stray = next((use.node for use in value.uses if use.node not in steps), None)
            if stray is not None or value.is_output:
                reader = "the graph returns it" if stray is None else f"{describe(stray)} reads it"
                raise ModelError(
                    f"the int32 result of layer {describe(layer.node)} is dequantized, but {reader} as it is"
                )


def _integer(node: Node, key: str, default: int) -> int:
    item = node.attributes.get(key, default)
    if not isinstance(item, int):
        raise ModelError(f"attribute '{key}' of layer {describe(node)} must be of type INT")
    return item
