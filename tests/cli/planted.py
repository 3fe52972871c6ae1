"""Faults planted in a deploy model: each changes one thing in one layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

Fault = Callable[[onnx.ModelProto], None]

LAYER = "/b/b.0/Conv"


def node_named(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def change_constant(node: str, index: int, change: Callable[[np.ndarray], None]) -> Fault:
    def plant(model: onnx.ModelProto) -> None:
        name = node_named(model, node).input[index]
        held = next(t for t in model.graph.initializer if t.name == name)
        array = numpy_helper.to_array(held).copy()
        change(array)
        held.CopyFrom(numpy_helper.from_array(array, name))

    return plant


def change_attribute(node: str, name: str, change: Callable[[object], object]) -> Fault:
    def plant(model: onnx.ModelProto) -> None:
        found = next(a for a in node_named(model, node).attribute if a.name == name)
        found.CopyFrom(helper.make_attribute(name, change(helper.get_attribute_value(found))))

    return plant


def one_weight(weights: np.ndarray) -> None:
    place = tuple(np.argwhere(np.abs(weights) < 100)[0])
    weights[place] += 9


def swap_channels(weights: np.ndarray) -> None:
    weights[[0, 1]] = weights[[1, 0]]


def scale_of_channel(packed: np.ndarray) -> None:
    scale = packed[1:2].astype(np.uint32).view(np.float32) * np.float32(1.01)
    packed[1] = scale.view(np.uint32)[0]


FAULTS: dict[str, Fault] = {
    "one weight": change_constant(LAYER, 1, one_weight),
    "one bias": change_constant(LAYER, 2, lambda bias: np.add.at(bias, 3, 5)),
    "scale of the input": change_attribute(f"{LAYER}.quant", "scale", lambda scale: scale * 1.02),
    "offset of the input": change_attribute(f"{LAYER}.quant", "offset", lambda offset: offset + 60),
    "scale of one channel": change_constant(f"{LAYER}.dequant", 1, scale_of_channel),
    "swapped channels": change_constant(LAYER, 1, swap_channels),
    "padding": change_attribute(LAYER, "pads", lambda _: [0, 1, 2, 1]),
}
"""Faults that only numbers show: the graph is still one that ATC compiles."""
ILLEGAL: dict[str, Fault] = {
    "scale as an integer": change_attribute(f"{LAYER}.quant", "scale", lambda scale: int(scale)),
    "offset as an integer": change_attribute(f"{LAYER}.quant", "offset", lambda offset: int(offset)),
    "dtype as a float": change_attribute(f"{LAYER}.dequant", "dtype", lambda dtype: float(dtype)),
    "dst_type as an integer": change_attribute(f"{LAYER}.quant", "dst_type", lambda _: 8),
}
"""Faults that break a rule of ATC."""


def planted(model: Path, fault: Fault, target: Path) -> Path:
    """A copy of a model file with a fault."""
    proto = onnx.load(model)
    fault(proto)
    onnx.save(proto, target)
    return target
