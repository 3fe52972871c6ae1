"""Models of IR version 3, where every initializer is an input: layers are switched one by one there, too."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import qir
from qir.frontends.onnx import to_detached_model


def old_model() -> bytes:
    weights = {"w": np.ones((4, 3, 1, 1), np.float32) / 3, "v": np.ones((2, 4, 1, 1), np.float32) / 7}
    shapes = {"x": [1, 3, 8, 8], **{name: list(array.shape) for name, array in weights.items()}}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
            helper.make_node("Conv", ["a", "v"], ["y"], name="second"),
        ],
        "old",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=3)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def test_layers_are_ranked_by_the_outputs_of_the_model() -> None:
    data = {"x": np.random.default_rng(0).random((4, 3, 8, 8), np.float32)}
    found = qir.sensitivity(old_model(), data, mode="model").scores
    assert set(found) == {"first", "second"}


def test_initializers_need_not_be_inputs() -> None:
    model, _ = to_detached_model(qir.load(old_model()))
    assert [value.name for value in model.graph.input] == ["x"]
    assert model.ir_version == 4
