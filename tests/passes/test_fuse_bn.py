"""fuse-bn by numbers: every kind of layer, random weights, float32 tolerance 1e-5 of the largest output."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from golden import FOLDER, read_cases
from same_numbers import chain, compute, ops, parse, random_feeds, run_exactly

from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, ParseError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.types import Dim, TensorType
from qir.passes.context import Context, RewriteLog
from qir.passes.fuse_bn import FuseBn, fuse_bn
from qir.passes.infer_types import InferTypes
from qir.passes.pipeline import parse_pipeline

TOLERANCE = 1e-5
Floats = npt.NDArray[np.float32]


class Net:
    """A small model under construction, all weights drawn from one seed."""

    def __init__(self, shape: Sequence[Dim], dtype: DType = DType.F32, opset: int = 17) -> None:
        self.random = np.random.default_rng(7)
        self.dtype = dtype
        self.graph = Graph("net", {"": opset})
        self.value = self.graph.add_input("x", TensorType(dtype, tuple(shape)))

    def weights(self, *shape: int, name: str = "w", positive: bool = False) -> Value:
        array = self.random.standard_normal(shape) * 0.5
        held = np.abs(array) + 0.5 if positive else array
        return self.graph.constant(held.astype(self.dtype.numpy), name)

    def add(self, op: str, *operands: Value | None, name: str | None = None, **attributes: Attribute) -> Node:
        node = self.graph.add(op, [self.value, *operands], name=name, attributes=attributes)
        self.value = node.output
        return node

    def batch_norm(self, channels: int, name: str | None = None) -> Node:
        vectors = [
            self.weights(channels, name=n, positive=n == "var") for n in ("gamma", "beta", "mean", "var")
        ]
        return self.add("BatchNormalization", *vectors, name=name, epsilon=float(np.float32(1e-3)))

    def done(self) -> Graph:
        self.add("Tanh", name="end")
        self.graph.add_output(self.value)
        InferTypes().run(self.graph, Context())
        return self.graph


def assert_all_fused(graph: Graph, expected: list[str], tolerance: float = TOLERANCE) -> None:
    run_exactly(FuseBn(), graph, tolerance, {"N": 3})
    assert ops(graph) == [*expected, "Tanh"]


CONVS = {
    "1d": ((4, 9), (6, 4, 3), {"pads": (1, 1)}),
    "2d": ((4, 9, 8), (6, 4, 3, 3), {"strides": (2, 2), "pads": (1, 0, 1, 0)}),
    "3d": ((2, 4, 5, 6), (3, 2, 2, 2, 2), {"dilations": (1, 2, 1)}),
    "grouped": ((4, 9, 8), (6, 2, 3, 3), {"group": 2, "auto_pad": "SAME_UPPER"}),
    "depthwise": ((4, 9, 8), (8, 1, 3, 3), {"group": 4}),
}
CONV_TRANSPOSES = {
    "1d": ((4, 9), (4, 6, 3), {"strides": (2,), "pads": (1, 1), "output_padding": (1,)}),
    "2d": ((4, 5, 6), (4, 3, 3, 3), {}),
    "grouped": ((6, 5, 6), (6, 2, 3, 2), {"group": 3, "strides": (2, 1)}),
    "depthwise": ((4, 5, 6), (4, 1, 2, 2), {"group": 4}),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CONVS)
def test_conv(kind: str, bias: bool) -> None:
    shape, weights, attributes = CONVS[kind]
    net = Net(("N", *shape))
    net.add("Conv", net.weights(*weights), net.weights(weights[0]) if bias else None, name="c", **attributes)
    net.batch_norm(weights[0], name="bn")
    graph = net.done()
    assert_all_fused(graph, ["Conv"])
    assert json.loads(graph.node("c").metadata["qir.fused"]) == ["bn"]
    assert graph.node("c").output.name == "bn"
    assert bias or graph.has_value("c.bias")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CONV_TRANSPOSES)
def test_conv_transpose(kind: str, bias: bool) -> None:
    shape, weights, attributes = CONV_TRANSPOSES[kind]
    channels = weights[1] * int(attributes.get("group", 1))  # type: ignore[call-overload]
    net = Net(("N", *shape))
    net.add("ConvTranspose", net.weights(*weights), net.weights(channels) if bias else None, **attributes)
    net.batch_norm(channels)
    trailing = [1] * (len(shape) - 1)
    net.add("Mul", net.weights(channels, *trailing))
    net.add("Add", net.weights(1, channels, *trailing))
    assert_all_fused(net.done(), ["ConvTranspose"])


@pytest.mark.parametrize("bias", [None, (), (1,), (6,), (1, 6), (3, 1), (3, 6)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(bias: tuple[int, ...] | None, transposed: int) -> None:
    net = Net((3, 5))
    weights = net.weights(*((6, 5) if transposed else (5, 6)))
    operand = None if bias is None else net.weights(*bias)
    net.add("Gemm", weights, operand, transB=transposed, alpha=0.5, beta=2.0)
    net.batch_norm(6)
    net.add("Div", net.weights(6, positive=True))
    assert_all_fused(net.done(), ["Gemm"])


@pytest.mark.parametrize("rank", [2, 3])
def test_matmul_with_and_without_a_bias(rank: int) -> None:
    net = Net(("N", 4, 5)[-rank:])
    net.add("MatMul", net.weights(5, 6), name="first")
    net.add("Mul", net.weights(6))
    net.add("MatMul", net.weights(6, 7), name="second")
    net.add("Add", net.weights(1, 7), name="bias")
    net.add("Div", net.weights(7, positive=True))
    net.add("Sub", net.weights(1))
    if rank == 2:
        net.add("MatMul", net.weights(7, 4), name="third")
        net.batch_norm(4)
    graph = net.done()
    tail = ["MatMul", "Add"] if rank == 2 else []
    assert_all_fused(graph, ["MatMul", "MatMul", "Add", *tail])
    bias = graph.node("bias").input(1)
    assert bias is not None
    assert bias.tensor.shape == (7,)
    assert graph.node("bias").input(0) is graph.node("second").output


def test_a_bias_in_front_of_its_matmul_is_put_in_place() -> None:
    net = Net(("N", 4, 5))
    matmul = net.add("MatMul", net.weights(5, 6))
    bias = net.weights(6, name="b")
    net.value = net.graph.add("Add", [bias, matmul.output], name="bias").output
    graph = net.done()
    run_exactly(FuseBn(), graph, 0.0)
    assert graph.node("bias").inputs == (matmul.output, bias)
    assert not FuseBn().run(graph, Context())


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("constant_first", [False, True])
def test_arithmetic_behind_a_conv(op: str, shape: tuple[int, ...], constant_first: bool) -> None:
    net = Net(("N", 4, 7, 7))
    net.add("Conv", net.weights(6, 4, 3, 3), net.weights(6))
    constant = net.weights(*shape, positive=True)
    operands = [constant, net.value] if constant_first else [net.value, constant]
    net.value = net.graph.add(op, operands, name="arithmetic").output
    left = ["Div"] if op == "Div" and constant_first else []
    assert_all_fused(net.done(), ["Conv", *left])


@pytest.mark.parametrize("shape", [(7,), (7, 7), (6, 7, 1), (1, 1, 6, 1, 1), (2, 6, 1, 1)])
def test_constants_that_are_not_per_channel(shape: tuple[int, ...]) -> None:
    net = Net((1, 4, 9, 9))
    net.add("Conv", net.weights(6, 4, 3, 3))
    net.add("Mul", net.weights(*shape))
    graph = net.done()
    log = run_exactly(FuseBn(), graph)
    assert ops(graph) == ["Conv", "Mul", "Tanh"]
    assert "is not one number for each of the 6 channels" in log.refusals()[0].reason


def test_one_channel_does_not_become_many() -> None:
    net = Net((1, 4, 9, 9))
    net.add("Conv", net.weights(1, 4, 3, 3))
    net.add("Mul", net.weights(3, 1, 1))
    graph = net.done()
    run_exactly(FuseBn(), graph)
    assert ops(graph) == ["Conv", "Mul", "Tanh"]


def test_the_float32_order_of_amct() -> None:
    """The order of operations that makes AMCT's weight scales bit-equal: specs of the compatible tool, M."""
    net = Net(("N", 3, 8, 8))
    weights, bias = net.weights(64, 3, 3, 3), net.weights(64)
    net.add("Conv", weights, bias)
    normalization = net.batch_norm(64)
    w, b, *vectors = (_array(v) for v in (weights, bias, *normalization.inputs[1:]))
    gamma, beta, mean, var = vectors
    inv = np.float32(1) / np.sqrt(var + np.float32(1e-3))
    assert FuseBn(ops=("Conv",)).run(net.done(), Context())
    assert np.array_equal(_array(weights), w * (gamma * inv).reshape(-1, 1, 1, 1))
    assert np.array_equal(_array(bias), (b - mean) * inv * gamma + beta)
    exact = w.astype(np.float64) * (gamma / np.sqrt(var.astype(np.float64) + 1e-3)).reshape(-1, 1, 1, 1)
    assert not np.array_equal(_array(weights), exact.astype(np.float32)), (
        "the test cannot tell the orders apart"
    )


def _array(value: Value | None) -> Floats:
    assert value is not None
    assert value.constant is not None
    array: Floats = value.constant.array
    return array


@pytest.mark.parametrize(("dtype", "tolerance"), [(DType.F16, 2e-3), (DType.F64, 1e-13)])
def test_other_float_types(dtype: DType, tolerance: float) -> None:
    net = Net(("N", 4), dtype)
    net.add("Gemm", net.weights(4, 6))
    net.batch_norm(6)
    graph = net.done()
    assert_all_fused(graph, ["Gemm"], tolerance)
    assert graph.nodes[0].inputs[1].tensor.dtype is dtype  # type: ignore[union-attr]


def test_a_shared_constant_is_copied_for_the_layer_that_changes_it() -> None:
    net = Net(("N", 4, 7, 7))
    weights, bias = net.weights(4, 4, 3, 3, name="tied"), net.weights(4, name="zero")
    net.add("Conv", weights, bias, name="first", pads=(1, 1, 1, 1))
    net.batch_norm(4)
    net.add("Conv", weights, bias, name="second", pads=(1, 1, 1, 1))
    net.batch_norm(4)
    net.add("Conv", weights, bias, name="third", pads=(1, 1, 1, 1))
    before = _array(weights).copy()
    graph = net.done()
    assert_all_fused(graph, ["Conv"] * 3)
    names = [[v and v.name for v in node.inputs[1:]] for node in graph.nodes[:3]]
    assert names == [["first.weight", "first.bias"], ["second.weight", "second.bias"], ["tied", "zero"]]
    assert np.array_equal(_array(weights), before)


def test_an_add_alone_leaves_shared_weights_shared() -> None:
    net = Net(("N", 4, 7, 7))
    weights = net.weights(4, 4, 3, 3, name="tied")
    net.add("Conv", weights, name="first")
    net.add("Add", net.weights(4, 1, 1))
    net.add("Conv", weights, name="second")
    graph = net.done()
    assert_all_fused(graph, ["Conv", "Conv"])
    assert graph.node("first").inputs[1] is weights


def test_batch_norm_as_small_ops_after_a_conv_and_alone() -> None:
    net = Net(("N", 4, 7, 7))
    for op in ("Relu", "Conv"):
        net.add(op, *([net.weights(4, 4, 1, 1)] if op == "Conv" else []))
        net.add("Sub", net.weights(1, 4, 1, 1))
        net.add("Mul", net.weights(4, 1, 1))
        net.value = net.graph.add("Mul", [net.weights(4, 1, 1), net.value], name=f"gamma_{op}").output
        net.value = net.graph.add("Add", [net.weights(4, 1, 1), net.value], name=f"beta_{op}").output
    assert_all_fused(net.done(), ["Relu", "BatchNormalization", "Conv"])


def test_batch_norm_of_a_sum_takes_what_follows() -> None:
    net = Net(("N", 4, 7))
    net.add("Relu")
    net.batch_norm(4, name="bn")
    net.add("Mul", net.weights(1))
    net.batch_norm(4)
    net.add("Add", net.weights(4, 1))
    graph = net.done()
    assert_all_fused(graph, ["Relu", "BatchNormalization"])
    assert graph.nodes[1].name == "bn"


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_the_golden_graphs_compute_the_same(number: int) -> None:
    case = read_cases(FOLDER / "fuse_bn.qir")[number]
    (item,) = parse_pipeline(case.pipeline)
    run_exactly(item, case.graph(), TOLERANCE)


def test_a_conv_within_a_branch() -> None:
    graph = parse("""graph @branch(%c: bool[], %x: f32[1,1,2,2]) {
  opsets {onnx=17}
  %w = const [2.0] : f32[1,1,1,1]
  %v = const [0.5] : f32[1]
  %outer = Conv "outer"(%x, %w) : f32[1,1,2,2]
  %y = If(%c) {else_branch=graph @no() {
    %n = BatchNormalization "captures"(%outer, %v, %v, %v, %v) : f32[1,1,2,2]
    return %n
  }, then_branch=graph @yes() {
    %k = Conv "inner"(%x, %w) : f32[1,1,2,2]
    %p = BatchNormalization "bn"(%k, %v, %v, %v, %v) : f32[1,1,2,2]
    return %p
  }} : f32[1,1,2,2]
  return %y
}
""")
    log = run_exactly(FuseBn(), graph, TOLERANCE)
    no, yes = graph.nodes[1].subgraphs
    assert ops(no) == ["BatchNormalization"]
    assert ops(yes) == ["Conv"]
    assert [r.node for r in log.refusals()] == ["captures"]


def test_a_long_chain_of_convs_and_norms() -> None:
    net = Net((1, 1, 2, 2))
    for i in range(1_000):
        net.add("Conv", net.weights(1, 1, 1, 1, positive=True), name=f"c{i}")
        net.batch_norm(1, name=f"bn{i}")
    graph = net.done()
    log = RewriteLog()
    assert fuse_bn(graph, log, FuseBn().ops)
    assert log.counts() == {"fuse-bn": 1_000}
    assert len(graph.nodes) == 1_001


def test_a_long_chain_of_arithmetic_behind_one_conv() -> None:
    net = Net((1, 1, 2, 2))
    net.add("Conv", net.weights(1, 1, 1, 1), name="c")
    factor = net.graph.constant(np.ones(1, np.float32), "one")
    for _ in range(1_000):
        net.add("Mul", factor)
    graph = net.done()
    assert_all_fused(graph, ["Conv"])
    assert len(json.loads(graph.node("c").metadata["qir.fused"])) == 1_000


def test_names_of_what_was_fused_survive_several_runs() -> None:
    net = Net(("N", 4, 7, 7))
    net.add("Conv", net.weights(4, 4, 3, 3), name="c")
    net.batch_norm(4, name="bn")
    net.add("Mul", net.weights(1), name="mul")
    graph = net.done()
    assert FuseBn(ops=("Mul",)).run(graph, Context())
    assert ops(graph) == ["Conv", "BatchNormalization", "Tanh"]
    assert_all_fused(graph, ["Conv"])
    assert json.loads(graph.node("c").metadata["qir.fused"]) == ["bn", "mul"]


def test_unknown_ops_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'Conv'"):
        FuseBn(ops=("Convv",))
    with pytest.raises(ParseError, match="MatMul"):
        parse_pipeline("fuse-bn{ops=Matmul}")
    with pytest.raises(ConfigError, match="there is no layer 'reluu' that absorbs anything"):
        FuseBn(skip=("reluu",)).run(chain("Relu", 3), Context())


def test_no_batch_norm_no_change() -> None:
    graph = chain("Relu", 3)
    feeds = random_feeds(graph)
    before = compute(graph, feeds)
    assert not FuseBn().run(graph, Context())
    assert compute(graph, feeds).keys() == before.keys()
