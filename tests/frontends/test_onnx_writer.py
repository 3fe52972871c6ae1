"""What a graph becomes in ONNX: the same bytes each time, taps, quants, names, versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_build import BOOL, F32, floats, graph, info, model, node, relu_model
from onnx_runs import outputs, same

from qir.frontends.onnx import read_model, to_model, writer
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError, ModelError
from qir.ir.graph import Graph
from qir.ir.types import QuantParams, QuantSpec, TensorType, tensor

X = np.array([-1.0, 2.0], np.float32)
I8 = QuantSpec(DType.I8, symmetric=False)


def _quantized() -> Graph:
    """x -> quant -> Relu -> a -> quant -> y, and If reads the first quant."""
    made = Graph("g", {"": 17})
    x = made.add_input("x", tensor(DType.F32, (2,)))
    k = made.add_input("k", tensor(DType.BOOL, ()))
    closed = tensor(DType.F32, (2,)).with_quant(QuantParams.of(I8, 0.5, 3))
    quant = made.add("quant", [x], domain="qir", name="x.q", types=[closed]).output
    relu = made.add("Relu", [quant], name="a", types=[tensor(DType.F32, (2,))]).output
    branch = Graph("b", parent=made)
    branch.add_output(branch.add("Neg", [quant], name="n", types=[tensor(DType.F32, (2,))]).output)
    attributes = {"then_branch": branch, "else_branch": branch.clone()}
    choice = made.add("If", [k], attributes=attributes, name="i", types=[tensor(DType.F32, (2,))]).output
    made.add_output(choice)
    made.add_output(made.add("quant", [relu], domain="qir", name="y", types=[closed]).output)
    return made


def test_quants_are_refused() -> None:
    with pytest.raises(BackendError, match=r"'x\.q' is a qir\.quant, which ONNX does not have"):
        to_model(_quantized())


def test_bypassed_quants_vanish() -> None:
    written = to_model(_quantized(), quants="bypass", taps=["x.q", "a"])
    onnx.checker.check_model(written)
    assert [(n.op_type, *n.input, *n.output) for n in written.graph.node] == [
        ("Identity", "x", "x.q"),  # tapped, and therefore there
        ("Relu", "x.q", "a"),
        ("If", "k", "i"),
        ("Identity", "a", "y"),  # the graph's output keeps its name
    ]
    assert [v.name for v in written.graph.output] == ["i", "y", "x.q", "a"]
    assert same(outputs(written, X, np.array(True)), [-X, np.maximum(X, 0), X, np.maximum(X, 0)])
    written = to_model(_quantized(), quants="bypass")
    assert [(n.op_type, *n.input) for n in written.graph.node] == [
        ("Relu", "x"),
        ("If", "k"),
        ("Identity", "a"),
    ]
    assert list(written.graph.node[1].attribute[0].g.node[0].input) == ["x"]
    assert same(outputs(written, X, np.array(True)), [-X, np.maximum(X, 0)])


def test_quants_written_as_identities() -> None:
    written = to_model(_quantized(), quants="identity")
    assert [(n.op_type, n.domain) for n in written.graph.node if n.op_type != "If"] == [
        ("Identity", ""),
        ("Relu", ""),
        ("Identity", ""),
    ]


def test_taps() -> None:
    w = np.array([1, 2], np.float32)
    chain = [node("Relu", ["x"], ["relu"]), node("Add", ["relu", "w"], ["y"])]
    original = model(graph(chain, [info("x", F32, [2])], [info("y", F32, [2])], [floats("w", 1, 2)]))
    read = read_model(original)
    written = to_model(read, taps=["relu", "y", "w", "relu", "x"])
    assert [v.name for v in written.graph.output] == ["y", "relu", "w", "x"]
    assert same(outputs(written, X), [np.maximum(X, 0) + w, np.maximum(X, 0), w, X])
    with pytest.raises(ConfigError, match=r"no value named 'rleu' .*did you mean 'relu'"):
        to_model(read, taps=["rleu"])
    assert [v.name for v in to_model(read).graph.output] == ["y"]


def test_tapped_values_of_unknown_type_run() -> None:
    read = read_model(relu_model())
    neg = read.add("Neg", [read.value("y")], name="neg").output
    assert neg.type == TensorType()
    assert same(outputs(to_model(read, taps=["neg"]), X), [np.maximum(X, 0), -np.maximum(X, 0)])


_SCRIPT = """
import sys
from qir.frontends.onnx import read_model, to_model, writer
model = to_model(read_model(sys.argv[1]))
sys.stdout.buffer.write(model.SerializeToString(deterministic=True))
"""


def test_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    branch = graph([node("Add", ["x", "w"], ["r"])], [], [info("r", F32, [2])], [floats("w", 1, 2)], name="b")
    body = graph(
        [
            node("If", ["k"], ["i"], then_branch=branch, else_branch=branch),
            node("Foo", ["i"], ["y"], a=1, b=2, c=3),
        ],
        [info("k", BOOL, []), info("x", F32, [2])],
        [info("y", F32, [2])],
    )
    made = model(body)
    for key in "abcde":
        made.metadata_props.add(key=key, value=key)
        made.graph.node[1].metadata_props.add(key=key, value=key)
    path = tmp_path / "m.onnx"
    onnx.save(made, path)
    results = {
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert results == {to_model(read_model(path)).SerializeToString(deterministic=True)}


def test_versions_of_new_graphs() -> None:
    made = Graph("new", {"": 17, "custom": 2})
    made.add_output(made.add("Relu", [made.add_input("x", tensor(DType.F32, ("N",)))], name="y").output)
    written = to_model(made)
    assert (written.ir_version, written.producer_name) == (8, "qir")
    assert {o.domain: o.version for o in written.opset_import} == {"": 17, "custom": 2}


def test_lists_of_mixed_kinds_are_refused() -> None:
    read = read_model(relu_model())
    read.nodes[0].attributes["bad"] = (1, "a")  # type: ignore[assignment]
    with pytest.raises(ModelError, match="attribute 'bad' is a list of different kinds"):
        to_model(read)


def test_weights_are_not_copied_into_the_graph_of_a_clone() -> None:
    body = graph(
        [node("Add", ["x", "w"], ["y"])], [info("x", F32, [2])], [info("y", F32, [2])], [floats("w", 1, 2)]
    )
    read = read_model(model(body))
    before = to_model(read).SerializeToString(deterministic=True)
    copy = read.clone()
    assert to_model(copy).SerializeToString(deterministic=True) == before


def test_too_large_for_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    w = floats("w", 1, 2)
    body = graph([node("Add", ["x", "w"], ["y"])], [info("x", F32, [2])], [info("y", F32, [2])], [w])
    read = read_model(model(body))
    monkeypatch.setattr(writer, "EXTERNAL_BYTES", 7)
    with pytest.raises(BackendError, match="graph 'g' holds 8 bytes of constants, more than"):
        to_model(read)
