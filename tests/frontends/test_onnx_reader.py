"""ONNX models come in whole: constants, names, order, subgraphs, attributes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import BOOL, F32, I64, floats, graph, info, model, node, tensor
from onnx_runs import outputs, round_trip, same, through_text

from qir.frontends.onnx import read_model, to_model
from qir.ir.constant import Constant
from qir.ir.errors import ModelError

X = np.array([-1.0, 2.0], np.float32)


def _constant_model(**attribute: object) -> onnx.ModelProto:
    return model(
        graph([node("Constant", [], ["c"], **attribute)], [], [helper.make_empty_tensor_value_info("c")])
    )


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value": tensor("", np.array([1, 2], np.int32))}, np.array([1, 2], np.int32)),
        ({"value_float": 0.5}, np.array(0.5, np.float32)),
        ({"value_floats": [0.5, 2.0]}, np.array([0.5, 2.0], np.float32)),
        ({"value_int": 7}, np.array(7, np.int64)),
        ({"value_ints": [7, -8]}, np.array([7, -8], np.int64)),
        ({"value_string": "né"}, np.array("né".encode(), object)),
        ({"value_strings": ["a", "b"]}, np.array([b"a", b"b"], object)),
    ],
)
def test_constant_node_becomes_a_constant_value(attribute: dict[str, object], expected: np.ndarray) -> None:
    read = read_model(_constant_model(**attribute))
    assert read.nodes == ()
    held = read.value("c").constant
    assert held == Constant.of(expected)
    assert to_model(read).graph.initializer[0].name == "c"


def test_sparse_constant_and_initializer_become_dense() -> None:
    values = helper.make_tensor("s", F32, [2], [3.0, 4.0])
    indices = helper.make_tensor("i", I64, [2, 2], [0, 1, 1, 0])
    sparse = helper.make_sparse_tensor(values, indices, [2, 2])
    read = read_model(_constant_model(sparse_value=sparse))
    dense = np.array([[0, 3], [4, 0]], np.float32)
    assert read.value("c").constant == Constant.of(dense)
    body = graph([node("Relu", ["s"], ["y"])], [], [info("y", F32, [2, 2])])
    body.sparse_initializer.append(sparse)
    assert same(outputs(round_trip(model(body))), [dense])


def test_constant_without_a_value_is_an_error() -> None:
    with pytest.raises(
        ModelError, match=r"node 'c' \(Constant\) must have one output and one attribute of value"
    ):
        read_model(_constant_model())


def test_old_models_list_initializers_as_inputs() -> None:
    body = graph(
        [node("Add", ["x", "w"], ["y"])],
        [info("x", F32, [2]), info("w", F32, [2])],
        [info("y", F32, [2])],
        [floats("w", 1, 2)],
    )
    old = model(body, opset=8, ir=3)
    read = read_model(old)
    assert [v.name for v in read.inputs] == ["x"]
    written = round_trip(old)
    assert written.ir_version == 4
    assert [v.name for v in written.graph.input] == ["x"]
    assert same(outputs(old, X), outputs(written, X))


def test_overridable_initializers_stay_overridable() -> None:
    body = graph(
        [node("Add", ["x", "w"], ["y"]), node("Add", ["y", "v"], ["z"])],
        [info("w", F32, [2]), info("x", F32, [2]), info("v", F32, [2])],
        [info("z", F32, [2])],
        [floats("w", 1, 2), floats("v", 5, 6)],
    )
    read = through_text(read_model(model(body)))
    assert [v.name for v in read.inputs] == ["x"]
    assert [v.name for v in to_model(read).graph.input] == ["x", "w", "v"]
    changed = read.constant(np.zeros(2, np.float32), "zeros")
    read.replace(read.value("v"), changed)
    read.erase(read.value("v"))
    assert [v.name for v in to_model(read).graph.input] == ["x", "w"]
    read.rename(changed, "v")  # the same name, other data: not the input that users know
    assert [v.name for v in to_model(read).graph.input] == ["x", "w"]


def test_optional_inputs_and_outputs() -> None:
    clip = node("Clip", ["x", "", "high"], ["c"])
    drop = node("Dropout", ["c"], ["y", ""])
    body = graph([clip, drop], [info("x", F32, [2])], [info("y", F32, [2])], [tensor("high", np.float32(1))])
    read = read_model(model(body))
    assert read.nodes[0].inputs == (read.value("x"), None, read.value("high"))
    assert read.nodes[1].outputs[1] is None
    written = round_trip(model(body))
    assert list(written.graph.node[0].input) == ["x", "", "high"]
    assert list(written.graph.node[1].output) == ["y", ""]
    assert same(outputs(model(body), X), outputs(written, X))


def test_unsorted_nodes_are_sorted() -> None:
    nodes = [node("Neg", ["b"], ["y"]), node("Relu", ["x"], ["a"]), node("Exp", ["a"], ["b"])]
    read = read_model(model(graph(nodes, [info("x", F32, [2])], [info("y", F32, [2])])))
    assert [n.op for n in read.nodes] == ["Relu", "Exp", "Neg"]


def test_unsorted_capture_is_sorted() -> None:
    branch = graph([node("Neg", ["late"], ["t"])], [], [info("t", F32, [2])], name="b")
    nodes = [
        node("If", ["k"], ["y"], then_branch=branch, else_branch=branch),
        node("Relu", ["x"], ["late"]),
    ]
    body = graph(nodes, [info("k", BOOL, []), info("x", F32, [2])], [info("y", F32, [2])])
    assert [n.op for n in read_model(model(body)).nodes] == ["Relu", "If"]


def test_sorting_keeps_the_order_of_the_file_where_it_can() -> None:
    nodes = [
        node("Add", ["b", "c"], ["y"]),  # the one that stands too early
        node("Exp", ["x"], ["c"], name="1"),
        node("Abs", ["x"], ["a"], name="2"),
        node("Neg", ["c"], ["d"], name="3"),
        node("Relu", ["a"], ["b"], name="4"),
        node("Sin", ["d"], ["e"], name="5"),
    ]
    read = read_model(model(graph(nodes, [info("x", F32, [2])], [info("y", F32, [2])])))
    assert [n.name for n in read.nodes] == ["1", "2", "3", "4", "Add_0", "5"]


def test_long_chains() -> None:
    """Neither reading nor writing recurses along the graph, or searches it for every node."""
    count = 5000
    nodes = [node("Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    body = graph(nodes[::-1], [info("v0", F32, [2])], [info(f"v{count}", F32, [2])])
    read = read_model(model(body))
    assert [n.output.name for n in read.nodes] == [f"v{i + 1}" for i in range(count)]
    assert len(to_model(read).graph.node) == count


def test_cycle_names_its_nodes() -> None:
    nodes = [
        node("Add", ["x", "b"], ["a"], name="first"),
        node("Neg", ["a"], ["b"], name="second"),
        node("Exp", ["b"], ["y"], name="reader"),
    ]
    with pytest.raises(ModelError, match=r"cycle: 'first' \(Add\) -> 'second' \(Neg\) -> 'first'") as error:
        read_model(model(graph(nodes, [info("x", F32, [2])], [info("y", F32, [2])])))
    assert "reader" not in str(error.value)


def test_dangling_names() -> None:
    body = graph(
        [node("Relu", ["weigth"], ["y"], name="r")], [], [info("y", F32, [2])], [floats("weight", 1, 2)]
    )
    with pytest.raises(
        ModelError, match=r"node 'r' \(Relu\) reads 'weigth', which no .*did you mean 'weight'"
    ):
        read_model(model(body))
    body = graph([], [info("x", F32, [2])], [info("y", F32, [2])])
    with pytest.raises(ModelError, match="an output of graph 'g' reads 'y'"):
        read_model(model(body))


@pytest.mark.parametrize(
    ("nodes", "inputs", "initializers"),
    [
        ([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], ["x"], []),
        ([node("Relu", ["x"], ["x"])], ["x"], []),
        ([node("Split", ["x"], ["y", "y"])], ["x"], []),
        ([node("Relu", ["x"], ["y"])], ["x", "x"], []),
        ([node("Relu", ["x"], ["y"])], ["x"], [floats("w", 1), floats("w", 2)]),
        ([node("Constant", [], ["w"], value_float=1.0)], ["x"], [floats("w", 2)]),
    ],
)
def test_a_name_defined_twice(
    nodes: list[onnx.NodeProto], inputs: list[str], initializers: list[onnx.TensorProto]
) -> None:
    body = graph(nodes, [info(n, F32, [2]) for n in inputs], [info("x", F32, [2])], initializers)
    with pytest.raises(ModelError, match=r"second time|twice|cycle"):
        read_model(model(body))


def test_equal_initializers_may_repeat() -> None:
    body = graph([node("Relu", ["w"], ["y"])], [], [info("y", F32, [1])], [floats("w", 1), floats("w", 1)])
    assert len(read_model(model(body)).constants) == 1


def test_node_names_become_unique() -> None:
    nodes = [
        node("Relu", ["x"], ["a"], name="n"),
        node("Neg", ["a"], ["b"]),
        node("Exp", ["b"], ["c"], name="n"),
        node("Exp", ["c"], ["d"], name="n_1"),
        node("Abs", ["d"], ["y"], name="Neg_1"),
    ]
    read = read_model(model(graph(nodes, [info("x", F32, [2])], [info("y", F32, [2])])))
    assert [n.name for n in read.nodes] == ["n", "Neg_1_1", "n_2", "n_1", "Neg_1"]
    assert [n.metadata.get("qir.original_name") for n in read.nodes] == [None, "", "n", None, None]
    assert [n.name for n in to_model(through_text(read)).graph.node] == [
        "n",
        "Neg_1_1",
        "n_2",
        "n_1",
        "Neg_1",
    ]


def test_overlapping_names_in_subgraphs() -> None:
    """Sibling branches share names; one also repeats names of the graph around it, early and late ones."""
    then = graph(
        [node("Relu", ["x"], ["early"], name="same"), node("Neg", ["early"], ["late"], name="same2")],
        [],
        [info("late", F32, [2])],
        [floats("w", 1, 1)],
        name="t",
    )
    other = graph(
        [node("Add", ["x", "w"], ["r"], name="same"), node("Add", ["r", "early"], ["s"], name="same2")],
        [],
        [info("s", F32, [2])],
        [floats("w", 5, 7)],
        name="e",
    )
    body = graph(
        [
            node("Exp", ["x"], ["early"], name="same"),
            node("If", ["k"], ["i"], then_branch=then, else_branch=other),
            node("Neg", ["i"], ["late"]),
        ],
        [info("k", BOOL, []), info("x", F32, [2])],
        [info("late", F32, [2])],
    )
    read = read_model(model(body))
    outer = {v.name for v in read.values()}
    inner = [{v.name for v in g.values()} for n in read.nodes for g in n.subgraphs]
    assert all(not outer & names for names in inner)
    written = round_trip(model(body))
    for k, expected in ((True, -np.maximum(X, 0)), (False, np.add(X, [5, 7]) + np.exp(X))):
        got = outputs(written, np.array(k), X)[0]
        np.testing.assert_allclose(got, -expected.astype(np.float32), rtol=1e-6)


def test_loop_and_scan_with_captures() -> None:
    step = graph(
        [
            node("Add", ["state", "bias"], ["next"]),
            node("Identity", ["go"], ["still"]),
            node("Mul", ["next", "two"], ["out"]),
        ],
        [info("i", I64, []), info("go", BOOL, []), info("state", F32, [2])],
        [info("still", BOOL, []), info("next", F32, [2]), info("out", F32, [2])],
        [tensor("two", np.float32(2))],
        name="step",
    )
    body = graph(
        [
            node("Relu", ["x"], ["bias"]),
            node("Loop", ["n", "", "x"], ["last", "all"], body=step),
        ],
        [info("n", I64, []), info("x", F32, [2])],
        [info("last", F32, [2]), info("all", F32, ["n", 2])],
    )
    original = model(body)
    assert same(outputs(original, np.array(3), X), outputs(round_trip(original), np.array(3), X))
    read = read_model(original)
    captures = [u for u in read.value("bias").uses if u.node.graph is not read]
    assert [u.node.op for u in captures] == ["Add"]
