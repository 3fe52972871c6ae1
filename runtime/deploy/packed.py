"""Finds INT4 weights, which are stored two in a byte, and unpacks them.

Nothing in a deploy graph says that a weight is packed, but it then has half as many input channels as the
layer's input has. Shapes are those that the graph states; elsewhere they come from ONNX's shape inference
over a copy without the Ascend ops, for one sample (inference computes few shapes from symbols), or from a run
on zeros where inference gives up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qir.frontends.onnx import infer_types
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError, QirError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.types import Dim, TensorType
from qir.runtime.deploy.fields import describe
from qir.runtime.deploy.layers import WEIGHTED, IntegerLayer
from qir.runtime.deploy.ops import ANTI_QUANT, DEQUANT, QUANT, is_op
from qir.runtime.int4 import unpack_int4
from qir.runtime.session import Feeds, Session

_SAMPLES = 1
_log = logging.getLogger(__name__)


class Unpacked(NamedTuple):
    """Layers, their INT4 weights unpacked; `unknown` names those that may have such weights or not."""

    layers: tuple[IntegerLayer, ...]
    unknown: tuple[str, ...] = ()


def unpack_weights(
    graph: Graph,
    layers: Sequence[IntegerLayer],
    example: Feeds | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Unpacked:
    """The layers of `graph` with INT4 weights unpacked; ModelError where a weight does not fit its input.

    `example` is a feed to come: its shapes say what the inputs of the graph leave open. `shapes` are those of
    unpacked weights by the name of their layer, where they are known.
    """
    known = shapes or {}
    stated = [_stated_channels(layer, known.get(layer.name)) for layer in layers]
    unpacked = [_with_weight(*pair) for pair in zip(layers, stated, strict=True)]
    if all(n is not None or layer.weight is None for layer, n in zip(layers, stated, strict=True)):
        return Unpacked(tuple(unpacked))
    skeleton = _skeleton(graph, example or {})
    for old, new in zip(layers, unpacked, strict=True):
        if new is not old:
            _set_zeros(skeleton, new)
    unknown: list[str] = []
    for trial in (_input_channels, _channels_run):
        changed = True
        while changed:
            changed, unknown = False, []
            infer_types(skeleton)
            for i, layer in enumerate(unpacked):
                channels = trial(skeleton, layer)
                unknown += [layer.name] if channels is None and layer.weight is not None else []
                unpacked[i] = _with_weight(layer, channels)
                if unpacked[i] is not layer:
                    changed = True
                    _set_zeros(skeleton, unpacked[i])
    return Unpacked(tuple(unpacked), tuple(unknown))


def _stated_channels(layer: IntegerLayer, shape: Sequence[int] | None) -> int | None:
    """The input channels as the graph states them, or as a weight of that shape has them.

    None where nothing says them, or what says them cannot be.
    """
    first, weight = layer.node.input(0), layer.weight
    if weight is None:
        return None
    if shape is not None and len(shape) == weight.ndim:
        channels: int | None = _stored(layer, shape)
    else:
        channels = None if first is None else _channels_of(layer, first.tensor.shape)
    stored = _stored(layer, weight.shape)
    return channels if channels in (stored, 2 * stored) else None


def _with_weight(layer: IntegerLayer, channels: int | None) -> IntegerLayer:
    """The layer with its weight unpacked; itself when it is not packed."""
    weight = _unpacked(layer, channels)
    return layer if weight is None else replace(layer, weight=weight)


def _set_zeros(skeleton: Graph, layer: IntegerLayer) -> None:
    """Give the layer a weight of the unpacked shape."""
    assert layer.weight is not None
    zeros = np.broadcast_to(np.int8(0), layer.weight.shape)
    skeleton.node(layer.name).set_input(1, skeleton.constant(zeros, f"{layer.name}.unpacked"))


def _skeleton(graph: Graph, example: Feeds) -> Graph:
    """A copy for its shapes: nothing quantizes, and inputs are as in `example`, or one sample."""
    skeleton = graph.clone()
    for fed in skeleton.inputs:
        shape = fed.tensor.shape
        if fed.name in example:
            fed.type = replace(fed.tensor, shape=example[fed.name].shape)
        elif shape and not isinstance(shape[0], int):
            fed.type = replace(fed.tensor, shape=(_SAMPLES, *shape[1:]))
    for node in skeleton.nodes:
        if is_op(node, QUANT, DEQUANT, ANTI_QUANT):
            if len(node.inputs) > 1:
                node.set_input(1, None)
                node.trim_inputs()
            node.op, node.attributes = "Identity", {}
        for value in node.outputs:
            if value is not None and isinstance(value.type, TensorType):
                value.type = TensorType()
    return skeleton


def _input_channels(skeleton: Graph, layer: IntegerLayer) -> int | None:
    """How many channels (of a matrix: columns) the layer reads; None when that is unknown."""
    first = skeleton.node(layer.name).input(0)
    return _channels_of(layer, None if first is None else first.tensor.shape)


def _channels_of(layer: IntegerLayer, shape: Sequence[Dim] | None) -> int | None:
    axis = 1 if layer.node.op in ("Conv", "ConvTranspose") else -1
    found = shape[axis] if shape is not None and len(shape) >= max(1, axis + 1) else None
    return found if isinstance(found, int) else None


def _unpacked(layer: IntegerLayer, channels: int | None) -> npt.NDArray[np.int8] | None:
    """The weight unpacked; None when it is not packed."""
    weight = layer.weight
    if weight is None or channels is None:
        return None
    stored = _stored(layer, weight.shape)
    if channels in (stored, _SAMPLES):  # the latter may be the stand-in for an open dimension
        return None
    if 2 * stored == channels:
        return unpack_int4(weight, _input_axis(layer))
    raise ModelError(
        f"the weight of layer {describe(layer.node)} has shape {list(weight.shape)} for {stored} input "
        f"channels, but the layer reads {channels}"
    )


def _stored(layer: IntegerLayer, shape: Sequence[int]) -> int:
    """Input channels that a weight of that shape is for."""
    channels = shape[_input_axis(layer)]
    return channels * layer.groups if layer.node.op == "Conv" else channels


def _input_axis(layer: IntegerLayer) -> int:
    """The axis of the input channels in the weight."""
    assert layer.weight is not None
    if layer.node.op == "Conv":
        return 1
    if layer.node.op == "ConvTranspose":
        return 0
    return layer.weight.ndim - 2 if layer.weight_spec.axis != 0 else 1


def _channels_run(skeleton: Graph, layer: IntegerLayer) -> int | None:
    """As `_input_channels`, from a run on zeros of all that leads to the layer, where inference gave up."""
    known = _input_channels(skeleton, layer)
    first = skeleton.node(layer.name).input(0)
    if known is not None or first is None:
        return known
    lead = _leading_to(skeleton, first.name)
    feeds: dict[str, npt.NDArray[Any]] = {}
    for value in lead.inputs:
        dtype, shape = value.tensor.dtype, value.tensor.static_shape
        if shape is None or dtype is None or dtype.numpy is None:
            return None
        feeds[value.name] = np.zeros(shape, dtype.numpy)
    try:
        found = Session(lead, threads=1, optimize=False).run(feeds)[first.name].shape
    except QirError as error:
        _log.info("whether the weight of layer '%s' is packed is not known: %s", layer.name, error)
        return None
    return _channels_of(layer, found)


def _leading_to(graph: Graph, name: str) -> Graph:
    """A copy of what computes one value, on float32 throughout."""
    lead = graph.clone()
    for i in range(len(lead.outputs)):
        lead.set_output(i, lead.value(name))
    for node in reversed(lead.nodes):
        if not any(value is not None and value.is_read for value in node.outputs):
            lead.erase(node)
            continue
        if node.op in (*WEIGHTED, "Add"):
            _to_float(lead, node)
    for value in lead.inputs:
        if not value.is_read:
            lead.erase(value)
    return lead


def _to_float(graph: Graph, node: Node) -> None:
    """Integer weights and biases would not fit the floats that the skeleton computes with."""
    for i, value in enumerate(node.inputs):
        held = None if value is None else value.constant
        if held is not None and held.dtype in (DType.I8, DType.I32):
            zeros = np.broadcast_to(np.float32(0), held.shape)
            node.set_input(i, graph.constant(zeros, f"{node.name}.float"))
