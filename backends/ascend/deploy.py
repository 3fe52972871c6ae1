"""The Ascend deploy graph: int8 weights, int32 bias, AscendQuant before and AscendDequant behind each layer.

INT4 weights are packed in pairs along the input channels, INT6 and INT7 ones stored one in an int8. A tensor
that only travels as integers is restored by AscendAntiQuant. These ops stand in the default domain, as ATC
expects; no opset import is added and the opset stays, unless it is older than ATC knows. The zero point of
the activation is an attribute of AscendQuant only: the compiler folds it into bias and padding, so folding it
here would fold it twice.
Source: the deploy models that AMCT writes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.precisions import channel_axis, weight_bits_reason
from qir.backends.fake_quant.opset import raise_opset
from qir.backends.integers import Chain, IntegerForm, lower_integers
from qir.backends.layers import Integers, Operand, QuantizedLayer, QuantizedTensor
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import QuantParams, TensorType
from qir.runtime.deploy.params import pack_params
from qir.runtime.int4 import pack_int4

LOWEST_OPSET = 8
"""The first opset whose models ATC takes."""
_RAISED_OPSET = 13  # the last that older releases of ATC know, too
_log = logging.getLogger(__name__)

RESULT_TYPES: Mapping[DType, int] = MappingProxyType({DType.F32: 0, DType.F16: 1})
"""Float type -> AscendDequant.dtype: GE's DT_FLOAT and DT_FLOAT16."""


def lower(graph: Graph, integers: Integers | None = None) -> Graph:
    """The deploy graph of a completely quantized graph; BackendError otherwise."""
    form = IntegerForm(_store, _quantize, _restore, _dequantize)
    return lower_integers(_known_to_atc(graph), form, integers)


def _known_to_atc(graph: Graph) -> Graph:
    """A copy in an opset that ATC takes; where it cannot be raised, as it is, for the check to report."""
    if graph.opsets.get("", LOWEST_OPSET) >= LOWEST_OPSET:
        return graph.clone()
    try:
        return raise_opset(graph, _RAISED_OPSET)
    except BackendError as error:
        _log.warning("the deploy graph keeps its opset, which ATC does not know: %s", error)
        return graph.clone()


def destination(params: QuantParams) -> str:
    """AscendQuant's name for the stored type: INT8, INT16, INT4."""
    return f"INT{params.spec.qtype.bits}"


def _store(operand: Operand, integers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    _check_width(operand)
    if operand.params.spec.qtype is not DType.I4:
        return integers
    return pack_int4(integers, channel_axis(operand.reader.op))


def _check_width(operand: Operand) -> None:
    """BackendError for a weight that Ascend does not take in so many bits, however it came about."""
    bits, node = operand.params.spec.qtype.bits, operand.reader
    reason = None if operand.params.spec.qtype is DType.I32 else weight_bits_reason(node, bits)
    if reason is not None:
        raise BackendError(f"layer '{node.name}' has INT{bits} weights, but {reason}")


def _quantize(graph: Graph, layer: str, value: Value, params: QuantParams, before: Node) -> Value:
    name = graph.unique_node_name(f"{layer}.quant")
    scale = np.float32(1) / np.float32(params.scale[0])
    node = graph.add(
        "AscendQuant",
        [value],
        name=name,
        outputs=[graph.unique_value_name(f"{name}.output0")],
        types=[TensorType(params.spec.qtype, value.tensor.shape)],
        attributes={
            "scale": float(scale),
            "offset": float(params.zero_point[0]),
            "dst_type": destination(params),
        },
        before=before,
    )
    return node.output


def _restore(graph: Graph, tensor: QuantizedTensor, quantized: Value) -> Value:
    name = graph.unique_node_name(f"{tensor.node.name}.anti_quant")
    node = graph.add(
        "AscendAntiQuant",
        [quantized],
        name=name,
        outputs=[graph.unique_value_name(f"{name}.output0")],
        types=[TensorType(DType.F32, quantized.tensor.shape)],
        attributes={
            "scale": tensor.activation.scale[0],
            "offset": float(tensor.activation.zero_point[0]),
            "dst_type": destination(tensor.activation),
        },
        before=tensor.node,
    )
    return node.output


def _dequantize(graph: Graph, layer: QuantizedLayer, result: Value, before: Node | None) -> Chain:
    name = graph.unique_node_name(f"{layer.name}.dequant")
    for node in {layer.node: None, layer.last: None}:
        node.output.type = TensorType(DType.I32, node.output.tensor.shape)
    param = graph.constant(pack_params(layer.dequant_scale), f"{name}.param")
    dequant = graph.add(
        "AscendDequant",
        [result, param],
        name=name,
        outputs=[graph.unique_value_name(f"{name}.output0")],
        attributes={"dtype": RESULT_TYPES[layer.dtype]},
        before=before,
    )
    return Chain(dequant, dequant)
