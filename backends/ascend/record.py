"""The scale-offset record: scales and zero points of each quantized layer, in protobuf's text format.

AMCT's tools exchange this file. Here it is made of a quantized graph; `record_reader` reads its text and
`record_in` puts it into a float graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from google.protobuf import text_encoding

from qir.backends.ascend.deploy import destination
from qir.backends.layers import QuantizedLayer, read_layers, read_tensors
from qir.ir.graph import Graph
from qir.ir.quants import is_restored
from qir.ir.types import QuantParams
from qir.passes.balancing.scaling import BALANCE_FACTOR

AFTER_PASS = "# after pass: "
"""Begins the comment that names a pass, which changed the weights before their scales were chosen."""
SKIP_FUSION = "qir.skip_fusion"
"""Metadata key of a layer that a record kept from absorbing a BatchNormalization; its value is `true`."""


@dataclass(frozen=True)
class LayerRecord:
    """What the record says of one layer: real = (stored - offset) * scale, for its input and its weight.

    `scale_w` holds one scale for each output channel or a single one; AveragePool has 1.0 and no `wts_type`.
    `tensor_balance_factor` has one factor for each input channel, by which the input is divided and the
    weight multiplied, or none. Tensor quantization (of one input of a layer without weight, with the key
    `layer:input`) has no `scale_w`.
    """

    scale_d: float
    offset_d: int
    scale_w: tuple[float, ...]
    act_type: str = "INT8"
    wts_type: str | None = "INT8"
    tensor_balance_factor: tuple[float, ...] = ()
    skip_fusion: bool = False
    is_tensor_quantize: bool = False


@dataclass(frozen=True)
class DraftRecord:
    """A layer's record while its input waits for calibration data: what a LayerRecord says of the weight."""

    scale_w: tuple[float, ...] = ()
    wts_type: str | None = None
    tensor_balance_factor: tuple[float, ...] = ()
    skip_fusion: bool = False
    is_tensor_quantize: bool = False

    def calibrated(self, scale_d: float, offset_d: int, act_type: str) -> LayerRecord:
        """The complete record."""
        return LayerRecord(
            scale_d,
            offset_d,
            self.scale_w,
            act_type,
            self.wts_type,
            self.tensor_balance_factor,
            self.skip_fusion,
            self.is_tensor_quantize,
        )


def records(graph: Graph) -> dict[str, LayerRecord]:
    """Key -> record: layers in running order, then tensors (`layer:input`).

    Tensors restored for other ops than MaxPool and Add have no record: AMCT's know no such layer.
    BackendError when the graph is not completely quantized.
    """
    layers = {layer.name: _of_layer(layer) for layer in read_layers(graph)}
    tensors = [tensor for tensor in read_tensors(graph) if not is_restored(tensor.node)]
    return layers | {tensor.name: _of_tensor(tensor.activation) for tensor in tensors}


def _of_tensor(params: QuantParams) -> LayerRecord:
    return LayerRecord(
        params.scale[0],
        params.zero_point[0],
        (),
        destination(params),
        wts_type=None,
        is_tensor_quantize=True,
    )


def _of_layer(layer: QuantizedLayer) -> LayerRecord:
    weight = None if layer.weight is None else layer.weight.params
    return LayerRecord(
        layer.activation.scale[0],
        layer.activation.zero_point[0],
        (1.0,) if weight is None else weight.scale,
        destination(layer.activation),
        None if weight is None else destination(weight),
        tuple(json.loads(layer.node.metadata.get(BALANCE_FACTOR, "[]"))),
        SKIP_FUSION in layer.node.metadata,
    )


def print_record(layers: Mapping[str, LayerRecord | DraftRecord], passes: Sequence[str] = ()) -> str:
    """The text of a record file, as protobuf prints it (which takes ten times as long).

    A comment in front names `passes` that must run on the float model first (see `weight_passes`).
    """
    lines = [f"{AFTER_PASS}{text}" for text in passes]
    for name, layer in layers.items():
        lines += ["record {", f'  key: "{text_encoding.CEscape(name, True)}"', "  value {"]
        lines += [f"    {line}" for line in _fields(layer)]
        lines += ["  }", "}"]
    return "".join(f"{line}\n" for line in lines)


def _fields(layer: LayerRecord | DraftRecord) -> list[str]:
    lines: list[str] = []
    if isinstance(layer, LayerRecord):
        lines += [f"scale_d: {_number(layer.scale_d)}", f"offset_d: {layer.offset_d}"]
    lines += [f"scale_w: {_number(scale)}" for scale in layer.scale_w]
    lines += ["offset_w: 0"] * len(layer.scale_w)
    lines += [f"tensor_balance_factor: {_number(factor)}" for factor in layer.tensor_balance_factor]
    lines += ["is_tensor_quantize: true"] if layer.is_tensor_quantize else []
    lines += ["skip_fusion: true"] if layer.skip_fusion else []
    lines += [f'act_type: "{layer.act_type}"'] if isinstance(layer, LayerRecord) else []
    lines += [] if layer.wts_type is None else [f'wts_type: "{layer.wts_type}"']
    return lines


@lru_cache(1 << 16)  # a search prints the same numbers whenever it has found a better model
def _number(x: float) -> str:
    """The shortest decimal that reads back as the same float32, laid out as Python lays out a float."""
    text = str(np.float32(x))
    return repr(float(text)) if "e" in text else text  # exponents begin elsewhere in Python
