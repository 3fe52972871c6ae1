"""A model without the data of its large constants, for ONNX Runtime to take them from memory as they are."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from qir.frontends.onnx.metadata import runnable_ir_version
from qir.frontends.onnx.tensors import describe_tensor, write_tensor
from qir.frontends.onnx.writer import LOWEST_IR, Quants, build_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph

_SMALL = 1024  # bytes; shape arithmetic reads smaller constants while the model loads


def to_detached_model(
    graph: Graph, *, quants: Quants = "refuse", taps: Sequence[str] = ()
) -> tuple[onnx.ModelProto, dict[str, Constant]]:
    """As `to_model`, with the data of large initializers left out: these come beside it, by name.

    In the model they are marked as external data in a file called `memory`, which does not exist. Neither
    the 2 GB of a protobuf nor a copy of the weights is in the way. Constants of subgraphs, strings and
    types that numpy lacks stay in the model. Constants that were inputs too are no inputs here: ONNX
    Runtime optimizes what is constant. The IR version is the lowest that will do. ONNX Runtime infers types
    by itself, so none are stated between inputs and outputs.
    """
    needed = {v.name for v in graph.inputs}
    detached: dict[str, Constant] = {}

    def store(constant: Constant, proto: onnx.TensorProto, name: str) -> None:
        small = constant.data.nbytes <= _SMALL
        plain = constant.dtype.numpy is not None and constant.dtype is not DType.STR
        outer = graph.has_value(name) and graph.value(name).constant is constant
        if small or not plain or not outer:
            write_tensor(constant, proto, name)
            return
        describe_tensor(constant, proto, name)
        proto.data_location = onnx.TensorProto.EXTERNAL
        proto.external_data.add(key="location", value="memory")
        detached[name] = constant

    model = build_model(graph, quants, taps, store, typed=False)
    model.ir_version = min(model.ir_version, max(runnable_ir_version(graph), LOWEST_IR))
    inputs = [i for i in model.graph.input if i.name in needed]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model, detached
