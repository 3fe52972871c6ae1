"""Model-local functions are inlined without a change of meaning."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_build import BOOL, F32, floats, graph, info, model, node
from onnx_runs import outputs, round_trip, same

from qir.frontends.onnx import read_model
from qir.ir.errors import ModelError

X = np.array([-1.0, 2.0], np.float32)
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]


def ref(made: onnx.NodeProto, name: str, source: str, kind: int) -> onnx.NodeProto:
    """The node with an attribute that refers to a function's attribute."""
    made.attribute.append(helper.make_attribute_ref(name, kind))
    made.attribute[-1].ref_attr_name = source
    return made


def function(
    name: str,
    inputs: list[str],
    outputs: list[str],
    nodes: list[onnx.NodeProto],
    attributes: list[str] | None = None,
    defaults: list[onnx.AttributeProto] | None = None,
    opsets: list[onnx.OperatorSetIdProto] | None = None,
) -> onnx.FunctionProto:
    return helper.make_function(
        "local", name, inputs, outputs, nodes, opsets or OPSETS, attributes or [], defaults or []
    )


def calling(
    nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto], results: list[str]
) -> onnx.ModelProto:
    body = graph(nodes, [info("x", F32, [2])], [info(r, F32, [2]) for r in results])
    return model(body, opset_imports=OPSETS, functions=functions)


def check(original: onnx.ModelProto, *inputs: np.ndarray) -> onnx.ModelProto:
    """The round trip, which must have no functions left and give the same outputs."""
    written = round_trip(original)
    assert not written.functions
    assert not [n for n in written.graph.node if n.domain == "local"]
    assert same(outputs(original, *inputs), outputs(written, *inputs))
    return written


def leaky(defaults: bool) -> onnx.FunctionProto:
    inner = ref(node("LeakyRelu", ["a"], ["t"], name="act"), "alpha", "slope", onnx.AttributeProto.FLOAT)
    names, given = (None, [helper.make_attribute("slope", 0.25)]) if defaults else (["slope"], None)
    return function("Leaky", ["a"], ["b"], [inner, node("Neg", ["t"], ["b"])], names, given)


def test_names_are_derived_and_unique() -> None:
    calls = [
        node("Leaky", ["x"], ["m"], domain="local", name="call", slope=0.5),
        node("Leaky", ["m"], ["call/t"], domain="local", slope=0.125),
        node("Leaky", ["call/t"], ["y"], domain="local", name="call2", slope=2.0),
    ]
    written = check(calling(calls, [leaky(False)], ["y"]), X)
    assert [n.name for n in written.graph.node] == [
        "call/act", "call/Neg_1", "Leaky_1/act", "Leaky_1/Neg_1", "call2/act", "call2/Neg_1",
    ]  # fmt: skip
    assert [n.output[0] for n in written.graph.node] == [
        "call/t_1", "m", "Leaky_1/t", "call/t", "call2/t", "y",
    ]  # fmt: skip


def test_attribute_defaults_and_absent_attributes() -> None:
    calls = [
        node("Leaky", ["x"], ["a"], domain="local"),
        node("Leaky", ["a"], ["y"], domain="local", slope=3.0),
    ]
    check(calling(calls, [leaky(True)], ["y"]), X)
    read = read_model(calling(calls, [leaky(False)], ["y"]))
    assert [n.attributes for n in read.nodes if n.op == "LeakyRelu"] == [{}, {"alpha": 3.0}]


def test_nested_functions_pass_attributes_on() -> None:
    call = ref(
        node("Leaky", ["a"], ["t"], domain="local", name="in"), "slope", "outer", onnx.AttributeProto.FLOAT
    )
    add = node("Add", ["t", "a"], ["b"])
    outer = function("Outer", ["a"], ["b"], [call, add], ["outer"])
    original = calling(
        [node("Outer", ["x"], ["y"], domain="local", name="o", outer=0.75)], [leaky(True), outer], ["y"]
    )
    written = check(original, X)
    assert [n.name for n in written.graph.node] == ["o/in/act", "o/in/Neg_1", "o/Add_1"]


def test_constants_in_functions() -> None:
    made = ref(node("Constant", [], ["c"]), "value_float", "v", onnx.AttributeProto.FLOAT)
    nodes = [made, node("Constant", [], ["d"], value=floats("", 3, 4)), node("Mul", ["c", "d"], ["e"])]
    nodes.append(node("Add", ["e", "a"], ["b"]))
    scaled = function("Scaled", ["a"], ["b", "d"], nodes, ["v"])
    calls = [
        node("Scaled", ["x"], ["p", "q"], domain="local", v=2.0),
        node("Scaled", ["p"], ["y", ""], domain="local", v=5.0),
    ]
    check(calling(calls, [scaled], ["y", "q"]), X)


def test_absent_operands() -> None:
    """An input left out stays absent in the body; outputs that the call does not take are still computed."""
    clip = function(
        "Clip2",
        ["a", "low", "high"],
        ["b", "c"],
        [node("Clip", ["a", "low", "high"], ["b"]), node("Neg", ["b"], ["c"])],
    )
    body = graph(
        [node("Clip2", ["x", "", "h"], ["", "y"], domain="local", name="k")],
        [info("x", F32, [2])],
        [info("y", F32, [2])],
        [helper.make_tensor("h", F32, [], [1.5])],
    )
    written = check(model(body, opset_imports=OPSETS, functions=[clip]), X)
    assert list(written.graph.node[0].input) == ["x", "", "h"]
    assert list(written.graph.node[0].output) == ["k/b"]


def test_outputs_that_are_inputs() -> None:
    both = function("Both", ["a"], ["a", "b"], [node("Neg", ["a"], ["b"])])
    calls = [node("Both", ["x"], ["m", "n"], domain="local"), node("Both", ["n"], ["y", "z"], domain="local")]
    read = read_model(calling(calls, [both], ["m", "y", "z"]))
    assert [n.op for n in read.nodes] == ["Neg", "Identity", "Neg", "Identity"]
    assert [v.name for v in read.outputs] == ["m", "y", "z"]
    assert same(outputs(round_trip(calling(calls, [both], ["m", "y", "z"])), X), [X, -X, X])


def test_subgraphs_in_functions() -> None:
    then = graph(
        [ref(node("LeakyRelu", ["a"], ["r"]), "alpha", "slope", onnx.AttributeProto.FLOAT)],
        [], [info("r", F32, [2])], name="t",
    )  # fmt: skip
    other = graph([node("Leaky", ["a"], ["b"], domain="local")], [], [info("b", F32, [2])], name="e")
    choice = function(
        "Choice",
        ["k", "a"],
        ["b"],
        [node("If", ["k"], ["b"], then_branch=then, else_branch=other)],
        ["slope"],
    )
    calls = [
        node("Choice", ["k", "x"], ["m"], domain="local", slope=0.5),
        node("Choice", ["k", "m"], ["y"], domain="local", slope=4.0),
    ]
    body = graph(calls, [info("k", BOOL, []), info("x", F32, [2])], [info("y", F32, [2])])
    original = model(body, opset_imports=OPSETS, functions=[leaky(True), choice])
    for k in (True, False):
        check(original, np.array(k), X)


def test_graph_attributes_read_the_scope_of_the_call() -> None:
    branch = graph([node("Exp", ["outside"], ["r"])], [], [info("r", F32, [2])], name="b")
    choice = node("If", ["k"], ["b"], name="if")
    for key in ("then_branch", "else_branch"):
        ref(choice, key, "branch", onnx.AttributeProto.GRAPH)
    branching = function("Branch", ["k"], ["b"], [choice], ["branch"])
    body = graph(
        [node("Neg", ["x"], ["outside"]), node("Branch", ["k"], ["y"], domain="local", branch=branch)],
        [info("k", BOOL, []), info("x", F32, [2])],
        [info("y", F32, [2])],
    )
    read = read_model(model(body, opset_imports=OPSETS, functions=[branching]))
    assert [u.node.op for u in read.value("outside").uses] == ["Exp", "Exp"]


def test_functions_bring_their_opsets() -> None:
    made = function(
        "F",
        ["a"],
        ["b"],
        [node("Custom", ["a"], ["b"], domain="other")],
        opsets=[helper.make_opsetid("other", 4)],
    )
    read = read_model(calling([node("F", ["x"], ["y"], domain="local")], [made], ["y"]))
    assert read.opsets == {"": 17, "local": 1, "other": 4}


def test_opset_of_a_function_must_agree() -> None:
    body = [node("Relu", ["a"], ["r"]), node("ReduceSum", ["r"], ["b"], keepdims=1)]
    harmless = function("F", ["a"], ["b"], body[:1], opsets=[helper.make_opsetid("", 14)])
    harmless.output[0] = "r"
    calls = [node("F", ["x"], ["y"], domain="local")]
    check(calling(calls, [harmless], ["y"]), X)
    harmful = function("F", ["a"], ["b"], body, opsets=[helper.make_opsetid("", 11)])
    with pytest.raises(ModelError, match=r"'F' uses ReduceSum of opset 11 .* model imports opset 17"):
        read_model(calling(calls, [harmful], ["y"]))


def test_recursion_and_wrong_calls() -> None:
    loop = function("F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="local", name="again")])
    with pytest.raises(ModelError, match=r"node 'again' \(F\) calls function 'F' within itself"):
        read_model(calling([node("F", ["x"], ["y"], domain="local")], [loop], ["y"]))
    with pytest.raises(ModelError, match="has 2 inputs and 1 outputs, but the function it calls takes 1"):
        read_model(calling([node("Leaky", ["x", "x"], ["y"], domain="local")], [leaky(True)], ["y"]))
    stray = ref(node("LeakyRelu", ["x"], ["y"], name="n"), "alpha", "slope", onnx.AttributeProto.FLOAT)
    with pytest.raises(ModelError, match=r"'alpha' of node 'n' .* does not stand in a function"):
        read_model(calling([stray], [], ["y"]))


def test_overloads_are_different_functions() -> None:
    first = function("F", ["a"], ["b"], [node("Neg", ["a"], ["b"])])
    second = function("F", ["a"], ["b"], [node("Abs", ["a"], ["b"])])
    second.overload = "abs"
    call = node("F", ["x"], ["y"], domain="local")
    call.overload = "abs"
    read = read_model(calling([call], [first, second], ["y"]))
    assert [n.op for n in read.nodes] == ["Abs"]
