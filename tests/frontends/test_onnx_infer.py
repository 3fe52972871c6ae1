"""Types inferred by ONNX are merged into what the graph knows, and nothing stops it."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import BOOL, F32, I64, floats, graph, info, model, node, tensor

from qir.frontends.onnx import infer_types, read_model
from qir.ir.dtypes import DType
from qir.ir.types import QuantParams, QuantSpec, SequenceType, TensorType
from qir.ir.types import tensor as tensor_type


def _types(made: onnx.ModelProto) -> dict[str, object]:
    read = read_model(made)
    assert infer_types(read)
    assert not infer_types(read)
    return {v.name: v.type for v in read.values()}


def test_shapes_symbols_and_data_propagation() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "rest"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["y"]),
        node("NonZero", ["x"], ["z"]),
    ]
    constants = [tensor("zero", np.array([0])), tensor("rest", np.array([6, 2]))]
    outputs = [helper.make_empty_tensor_value_info("y"), info("z", I64, None)]
    types = _types(model(graph(nodes, [info("x", F32, ["N", 3, 4])], outputs, constants)))
    assert types["y"] == tensor_type(DType.F32, ("N", 6, 2))
    assert types["z"] == tensor_type(DType.I64, (3, None))  # no invented symbol


def test_known_things_stay() -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["b"]), node("Exp", ["b"], ["y"])]
    outputs = [info("y", F32, ["batch", None]), info("z", F32, ["batch", 5])]
    nodes.append(node("Abs", ["x"], ["z"]))
    read = read_model(model(graph(nodes, [info("x", F32, ["N", 3])], outputs)))
    params = QuantParams.of(QuantSpec(DType.I8), 0.5)
    read.value("a").type = TensorType(None, None, params)
    read.value("b").type = tensor_type(DType.F32, (7, None))
    assert infer_types(read)
    assert read.value("a").type == TensorType(DType.F32, ("N", 3), params)
    assert read.value("b").type == tensor_type(DType.F32, (7, 3))
    assert read.value("y").type == tensor_type(DType.F32, (7, 3))
    assert read.value("z").type == tensor_type(DType.F32, ("batch", 5))  # even where inference disagrees


def test_quants_are_seen_through() -> None:
    read = read_model(
        model(graph([node("Relu", ["x"], ["y"])], [info("x", F32, [2])], [info("y", F32, [2])]))
    )
    spec = QuantSpec(DType.I8)
    quant = read.add("quant", [read.value("y")], domain="qir", name="q", types=[TensorType(quant=spec)])
    neg = read.add("Neg", [quant.output], name="n")
    assert infer_types(read)
    assert quant.output.type == TensorType(DType.F32, (2,), spec)
    assert neg.output.type == tensor_type(DType.F32, (2,))


def test_subgraphs_sequences_and_unknown_ops(caplog: pytest.LogCaptureFixture) -> None:
    step = graph(
        [node("Identity", ["go"], ["still"]), node("Relu", ["state"], ["r"]), node("Neg", ["r"], ["next"])],
        [info("i", I64, []), info("go", BOOL, []), helper.make_empty_tensor_value_info("state")],
        [info("still", BOOL, []), helper.make_empty_tensor_value_info("next")],
        name="step",
    )
    nodes = [
        node("Loop", ["n", "", "x"], ["last"], body=step),
        node("SequenceConstruct", ["last", "x"], ["seq"]),
        node("Mystery", ["last"], ["m"], domain="no.such.domain"),
        node("NoSuchOp", ["m"], ["o"]),
        node("Add", ["x", "three"], ["wrong"]),
        node("Shape", ["o"], ["y"]),
    ]
    body = graph(
        nodes, [info("n", I64, []), info("x", F32, [2])], [info("y", I64, None)], [floats("three", 1, 2, 3)]
    )
    read = read_model(model(body))
    with caplog.at_level(logging.INFO):
        assert infer_types(read)
    assert read.value("last").type == TensorType(DType.F32)  # its shape may change from step to step
    assert isinstance(read.value("seq").type, SequenceType)
    assert read.value("m").type == read.value("o").type == TensorType()
    (inner,) = read.nodes[0].subgraphs
    assert inner.value("r").type == inner.inputs[2].type == TensorType(DType.F32)


def test_failing_inference_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inference crashed")

    read = read_model(
        model(graph([node("Relu", ["x"], ["a"])], [info("x", F32, [2])], [info("x", F32, [2])]))
    )
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    assert not infer_types(read)
    assert read.value("a").type == TensorType()


def test_large_constants_are_not_serialized(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    infer = onnx.shape_inference.infer_shapes

    def measure(made: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
        sizes.append(made.ByteSize())
        return infer(made, **options)

    body = graph(
        [node("MatMul", ["x", "w"], ["y"])],
        [info("x", F32, ["N", 300])],
        [helper.make_empty_tensor_value_info("y")],
        [tensor("w", np.zeros((300, 200), np.float32)), floats("v", 1)],
    )
    read = read_model(model(body))
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", measure)
    assert infer_types(read)
    assert read.value("y").type == tensor_type(DType.F32, ("N", 200))
    assert sizes[0] < 1000


@pytest.mark.parametrize(
    ("op", "domain", "attributes"),
    [
        ("RegexFullMatch", "", {"pattern": "a"}),
        ("LabelEncoder", "ai.onnx.ml", {"keys_strings": ["a"], "values_strings": ["b"]}),
        ("DictVectorizer", "ai.onnx.ml", {"string_vocabulary": ["a"]}),
    ],
)
def test_inference_that_would_end_the_process(op: str, domain: str, attributes: dict[str, object]) -> None:
    """These ops of ONNX crash on an input without a type, which may get its type in the same run."""
    nodes = [
        node("Mystery", ["x"], ["untyped"], domain="no.such.domain"),
        node(op, ["untyped"], ["a"], domain=domain, **attributes),
        node("Identity", ["x"], ["later"]),
        node(op, ["later"], ["b"], domain=domain, **attributes),
    ]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 4)]
    body = graph(nodes, [info("x", onnx.TensorProto.STRING, [2])], [])
    read = read_model(model(body, opset_imports=opsets))
    assert infer_types(read)
    assert read.value("a").type == TensorType()
    assert read.value("later").type == tensor_type(DType.STR, (2,))
    assert (read.value("b").type != TensorType()) == (op != "DictVectorizer")
    assert not infer_types(read)
