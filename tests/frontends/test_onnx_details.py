"""Attributes of every kind, types, texts and versions survive the round trip."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import F32, I64, floats, graph, info, model, node, relu_model, tensor
from onnx_runs import round_trip, through_text

from qir.frontends.onnx import read_model, to_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import EmptyList
from qir.ir.types import OptionalType, SequenceType, TensorType


def test_every_attribute_kind() -> None:
    sub = graph([node("Relu", ["x"], ["q"])], [], [info("q", F32, [2])], name="sub")
    values = helper.make_tensor("", F32, [1], [3.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("", I64, [1], [2]), [4])
    kinds = {
        "f": 0.1,
        "i": -3,
        "s": "text",
        "b": b"\xff\x00",
        "t": floats("", 1, 2),
        "g": sub,
        "sp": sparse,
        "tp": helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, ["N", None, 3])),
        "fs": [0.1, 2.0],
        "is": [1, 2],
        "ss": ["a", "né"],
        "bs": [b"\xff", b"a"],
        "ts": [floats("", 1), tensor("", np.array([[1]], np.int8))],
        "gs": [sub, sub],
        "sps": [sparse],
        "tps": [helper.make_tensor_type_proto(I64, []), helper.make_tensor_type_proto(F32, None)],
        **{f"e{k}": [] for k in (6, 7, 8, 9, 10, 12, 14)},
    }
    custom = onnx.NodeProto(op_type="Custom", domain="my.domain", input=["x"], output=["y"], name="c")
    for key, value in kinds.items():
        kind = int(key[1:]) if key[0] == "e" else None
        custom.attribute.append(helper.make_attribute(key, value, attr_type=kind))
    body = graph([custom], [info("x", F32, [2])], [info("y", F32, [2])])
    original = model(body, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 3)])
    read = through_text(read_model(original))
    (made,) = read.nodes
    assert made.attributes["f"] == np.float32(0.1)
    assert made.attributes["b"] == b"\xff\x00"
    assert made.attributes["tp"] == SequenceType(TensorType(DType.F32, ("N", None, 3)))
    assert made.attributes["sp"] == Constant.of(np.array([0, 0, 3, 0], np.float32))
    assert isinstance(made.attributes["g"], Graph)
    assert made.attributes["e8"] == EmptyList("strings")
    written = to_model(read).graph.node[0]
    assert (written.op_type, written.domain) == ("Custom", "my.domain")
    before = {a.name: a for a in custom.attribute}
    after = {a.name: a for a in written.attribute}
    assert list(after) == sorted(before)
    for key in before:
        assert after[key].type == before[key].type, key
        if key not in ("t", "ts", "g", "gs", "sp", "sps"):  # ONNX has several encodings of these
            assert after[key] == before[key], key
    assert to_model(read_model(to_model(read))) == to_model(read)


def test_attribute_without_its_kind() -> None:
    made = node("LeakyRelu", ["x"], ["y"], alpha=0.25)
    made.attribute[0].ClearField("type")
    read = read_model(model(graph([made], [info("x", F32, [2])], [info("y", F32, [2])])))
    assert read.nodes[0].attributes == {"alpha": 0.25}


def test_types_and_dimensions() -> None:
    dims = ["N", "?", "-1", None, 3, 0]
    body = graph([node("Identity", ["x"], ["y"])], [info("x", F32, dims)], [info("y", F32, None)])
    body.input[0].type.tensor_type.shape.dim.add().dim_value = -1
    read = through_text(read_model(model(body)))
    assert read.inputs[0].type == TensorType(DType.F32, ("N", "?", "-1", None, 3, 0, None))
    assert read.outputs[0].type == TensorType(DType.F32, None)
    written = to_model(read).graph
    assert [d.WhichOneof("value") for d in written.input[0].type.tensor_type.shape.dim] == [
        "dim_param", "dim_param", "dim_param", None, "dim_value", "dim_value", None,
    ]  # fmt: skip
    assert not written.output[0].type.tensor_type.HasField("shape")


def test_sequence_optional_map_and_sparse_types() -> None:
    item = helper.make_tensor_type_proto(F32, ["N"])
    kinds = {
        "a": helper.make_sequence_type_proto(item),
        "b": helper.make_optional_type_proto(helper.make_sequence_type_proto(item)),
        "c": helper.make_map_type_proto(I64, item),
        "d": helper.make_sparse_tensor_type_proto(F32, [3]),
    }
    infos = [helper.make_value_info(k, t) for k, t in kinds.items()]
    read = through_text(read_model(model(graph([], infos, infos))))
    assert read.inputs[1].type == OptionalType(SequenceType(TensorType(DType.F32, ("N",))))
    written = to_model(read).graph
    assert [v.type for v in written.input] == [v.type for v in infos]
    assert [v.type for v in written.output] == [v.type for v in infos]


def test_texts_and_versions_survive() -> None:
    original = relu_model()
    original.producer_name, original.producer_version, original.domain = "maker", "1.2", "org"
    original.model_version, original.doc_string = 5, 'model "doc"\nline'
    original.graph.doc_string = "graph doc"
    original.graph.node[0].doc_string = "node doc"
    original.graph.input[0].doc_string = "input doc"
    original.graph.output[0].metadata_props.add(key="unit", value="m")
    original.graph.metadata_props.add(key="gk", value="gv")
    original.graph.node[0].metadata_props.add(key="nk", value="nv")
    original.metadata_props.add(key="mk", value="mv")
    note = original.graph.quantization_annotation.add(tensor_name="x")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="y")
    original.opset_import.add(domain="ai.onnx.ml", version=3)
    original.opset_import.sort(key=lambda o: o.domain)
    assert round_trip(original) == original


def test_training_part_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    original = relu_model()
    original.training_info.add()
    with caplog.at_level("INFO"):
        assert not read_model(original).metadata.get("training_info")
    assert "training_info is left out" in caplog.text


def test_default_domain_has_one_name() -> None:
    original = relu_model(opset_imports=[helper.make_opsetid("ai.onnx", 17)])
    original.graph.node[0].domain = "ai.onnx"
    read = read_model(original)
    assert read.opsets == {"": 17}
    assert read.nodes[0].domain == ""
