"""Finds INT4 weights, which are stored two in a byte, and unpacks them.

Nothing in a deploy graph says that a weight is packed, but it then has half as many input channels as the
layer's input has. Shapes come from ONNX's shape inference over a copy without the Ascend ops, for one sample
(inference computes few shapes from symbols), or from a run on zeros where inference gives up.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
from qir.runtime.session import Session

_SAMPLES = 1
_log = logging.getLogger(__name__)


def unpack_weights(graph: Graph, layers: Sequence[IntegerLayer]) -> tuple[IntegerLayer, ...]:
    """The layers with INT4 weights unpacked; ModelError where a weight does not fit the layer's input."""
    skeleton = _skeleton(graph)
    unpacked = list(layers)
    for trial in (_input_channels, _channels_run):
        changed = True
        while changed:
            changed = False
            infer_types(skeleton)
            for i, layer in enumerate(unpacked):
                weight = _unpacked(layer, trial(skeleton, layer))
                if weight is not None:
                    unpacked[i], changed = replace(layer, weight=weight), True
                    zeros = np.broadcast_to(np.int8(0), weight.shape)
                    skeleton.node(layer.name).set_input(1, skeleton.constant(zeros, f"{layer.name}.unpacked"))
    return tuple(unpacked)


def _skeleton(graph: Graph) -> Graph:
    """A copy for its shapes: nothing quantizes, and an open number of samples is one."""
    skeleton = graph.clone()
    for fed in skeleton.inputs:
        shape = fed.tensor.shape
        if shape and not isinstance(shape[0], int):
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
    axis = _input_axis(layer)
    groups = layer.groups if layer.node.op == "Conv" else 1
    stored = weight.shape[axis] * groups
    if channels in (stored, _SAMPLES):  # the latter may be the stand-in for an open dimension
        return None
    if 2 * stored == channels:
        return unpack_int4(weight, axis)
    raise ModelError(
        f"the weight of layer {describe(layer.node)} has shape {list(weight.shape)} for {stored} input "
        f"channels, but the layer reads {channels}"
    )


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
