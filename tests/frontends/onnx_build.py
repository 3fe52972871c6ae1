"""Small ONNX models for the tests of the ONNX door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = TensorProto.FLOAT
I64 = TensorProto.INT64
BOOL = TensorProto.BOOL

info = helper.make_tensor_value_info
node = helper.make_node


def tensor(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def floats(name: str, *values: float) -> TensorProto:
    return tensor(name, np.array(values, np.float32))


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[TensorProto] = (),
    **fields: Any,
) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), fields.pop("name", "g"), inputs, outputs, initializers, **fields)


def model(body: onnx.GraphProto, opset: int = 17, ir: int = 8, **fields: Any) -> onnx.ModelProto:
    fields.setdefault("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(body, ir_version=ir, **fields)


def relu_model(name: str = "r", **fields: Any) -> onnx.ModelProto:
    """x -> Relu -> y over f32[2]."""
    return model(
        graph([node("Relu", ["x"], ["y"], name=name)], [info("x", F32, [2])], [info("y", F32, [2])]), **fields
    )
