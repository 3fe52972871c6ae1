"""The rules of ATC: a correct deploy graph passes, and each planted fault is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nets import Net, many_layers

from qir.backends.ascend import deploy
from qir.backends.ascend.check import Finding, check
from qir.backends.ascend.check.checker import RULES
from qir.frontends.onnx import read_model, to_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node
from qir.ir.types import tensor
from qir.runtime.bounds import sum_bounds

AMCT = Path(__file__).parents[1] / "data" / "amct"


def deployed() -> Graph:
    """A deploy graph as it is read back from a file, its input of fixed size."""
    graph = read_model(to_model(deploy.lower(many_layers().quantized())))
    graph.inputs[0].type = tensor(DType.F32, (1, 4, 8, 8))
    return graph


def replaced(graph: Graph, node: str, index: int, data: np.ndarray) -> None:
    graph.node(node).set_input(index, graph.constant(data, f"{node}.planted"))


def held(graph: Graph, node: str, index: int) -> np.ndarray:
    value = graph.node(node).inputs[index]
    assert value is not None
    assert value.constant is not None
    return value.constant.array.copy()


def test_a_correct_graph_has_no_finding() -> None:
    assert check(deployed()) == ()


@pytest.mark.parametrize("path", sorted(AMCT.glob("*/amct_deploy_model.onnx")), ids=lambda p: p.parent.name)
def test_deploy_models_of_amct_are_as_atc_wants_them(path: Path) -> None:
    found = check(read_model(path))
    assert {(f.severity, f.rule) for f in found} == {("warning", "dynamic-shape")}
    assert '--input_shape="input:1,' in found[0].cure


def attribute(node: str, name: str, value: Attribute | None) -> Callable[[Graph], None]:
    def plant(graph: Graph) -> None:
        attributes = graph.node(node).attributes
        attributes.pop(name, None)
        if value is not None:
            attributes[name] = value

    return plant


def constant(node: str, index: int, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Graph], None]:
    return lambda graph: replaced(graph, node, index, change(held(graph, node, index)))


def one_entry(position: int, entry: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[position] = entry
        return array

    return change


def bits(x: float) -> int:
    return int(np.float32(x).view(np.uint32))


ERRORS: list[tuple[str, Callable[[Graph], None], str, str]] = [
    ("scale as INT", attribute("left.quant", "scale", 16), "left.quant", "INT, ATC reads it as FLOAT"),
    ("offset as INT", attribute("left.quant", "offset", 2), "left.quant", "'offset' of AscendQuant is INT"),
    ("no scale", attribute("up.quant", "scale", None), "up.quant", "no attribute 'scale'"),
    ("dtype as FLOAT", attribute("fc.dequant", "dtype", 0.0), "fc.dequant", "FLOAT, ATC reads it as INT"),
    ("dst_type as INT", attribute("mm.quant", "dst_type", 8), "mm.quant", "INT, ATC reads it as STRING"),
    ("unknown dst_type", attribute("mm.quant", "dst_type", "INT9"), "mm.quant", "'INT9'; did you mean 'INT"),
    ("unknown mode", attribute("mm.quant", "round_mode", "Rount"), "mm.quant", "did you mean 'Round'"),
    ("dtype 5", attribute("fc.dequant", "dtype", 5), "fc.dequant", "'dtype' of AscendDequant is 5"),
    ("half offset", attribute("fc.quant", "offset", 1.5), "fc.quant", "offset of AscendQuant is 1.5"),
    ("large offset", attribute("fc.quant", "offset", 128.0), "fc.quant", "offset of AscendQuant is 128.0"),
    ("scale NaN", attribute("fc.quant", "scale", float("nan")), "fc.quant", "scale of AscendQuant is nan"),
    ("scale 0", attribute("fc.quant", "scale", 0.0), "fc.quant", "scale of AscendQuant is 0.0"),
    ("scale 1e9", attribute("fc.quant", "scale", 1e9), "fc.quant", "scale of AscendQuant is 1e+09"),
    ("float weight", constant("left", 1, lambda w: w.astype(np.float32)), "left", "'left.planted' is f32"),
    ("float bias", constant("stem", 2, lambda b: b.astype(np.float32)), "stem", "bias 'stem.planted' is f32"),
    ("short bias", constant("stem", 2, lambda b: b[:3]), "stem", "shape [3], its weight 4 output channels"),
    ("int64 param", constant("up.dequant", 1, lambda p: p.astype(np.int64)), "up.dequant", "is i64"),
    ("3 params", constant("up.dequant", 1, lambda p: p[:3]), "up.dequant", "shape [3]"),
    ("param rank", constant("up.dequant", 1, lambda p: p[None]), "up.dequant", "shape [1, 4]"),
    ("scale inf", constant("up.dequant", 1, one_entry(2, bits(np.inf))), "up.dequant", "channel 2"),
    ("offset_w", constant("up.dequant", 1, one_entry(1, 1 << 40 | bits(1))), "up.dequant", "weight offset"),
    ("high bits", constant("up.dequant", 1, one_entry(1, 1 << 50 | bits(1))), "up.dequant", "above 47"),
    ("dilation", attribute("up", "dilations", (2, 2)), "up", "dilations [2, 2]"),
    ("transA", attribute("fc", "transA", 1), "fc", "transA=1"),
    ("transB", attribute("fc", "transB", 1), "fc", "transB=1"),
    ("alpha", attribute("fc", "alpha", 0.5), "fc", "alpha=0.5"),
    ("pool", attribute("pool", "kernel_shape", (4,)), "pool", "1 spatial dimensions"),
    ("layout", attribute("pool", "data_format", "NHWC"), "pool", "NCHW only"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "node", "sentence"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_planted_errors(plant: Callable[[Graph], None], node: str, sentence: str) -> None:
    graph = deployed()
    plant(graph)
    found = [f for f in check(graph) if f.severity == "error"]
    assert {f.node for f in found} == {node}, found
    assert any(sentence in f.sentence for f in found), found
    assert all(f.cure for f in found)


def only(graph: Graph, rule: str) -> Finding:
    found = [f for f in check(graph) if f.rule == rule]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("opset", "severity"), [(7, "error"), (8, None), (13, None), (17, "info"), (23, "error")]
)
def test_opsets(opset: int, severity: str | None) -> None:
    graph = deployed()
    graph.opsets[""] = opset
    assert [f.severity for f in check(graph) if f.rule == "opset"] == ([severity] if severity else [])


def test_domains() -> None:
    graph = deployed()
    graph.node("fc.quant").domain = "amct.customop"
    found = only(graph, "domain")
    assert (found.severity, found.node) == ("error", "fc.quant")
    assert "deploy model" in found.cure


def test_missing_dequant() -> None:
    graph = deployed()
    node = graph.node("left.dequant")
    acc = node.inputs[0]
    assert acc is not None
    graph.replace(node.output, acc)
    graph.erase(node)
    found = [f for f in check(graph) if f.severity == "error"]
    assert [f.node for f in found] == ["left"]
    assert "no AscendDequant reads the sums" in found[0].sentence


def test_an_op_without_integer_form_that_reads_integers() -> None:
    graph = deployed()
    integers = graph.node("left.quant").output
    graph.add_output(graph.add("Relu", [integers], name="relu").output)
    found = [f for f in check(graph) if f.severity == "error"]
    assert [(f.node, f.rule) for f in found] == [("relu", "structure")]
    assert "left.quant" in found[0].sentence


def test_float_reads_the_sums() -> None:
    graph = deployed()
    graph.add_output(graph.add("Relu", [graph.node("left").output], name="relu").output)
    found = only(graph, "structure")
    assert (found.node, "int32 sums of 'left'" in found.sentence) == ("relu", True)


def test_dequant_without_layer() -> None:
    graph = deployed()
    graph.node("left.dequant").set_input(0, graph.node("both").output)
    nodes = {f.node for f in check(graph) if f.rule == "structure"}
    assert nodes == {"left", "left.dequant"}


@pytest.mark.parametrize(("scale", "count"), [(65504.0, 0), (65600.0, 1), (2.0**-14, 0), (2.0**-15, 1)])
def test_reciprocals_beyond_float16(scale: float, count: int) -> None:
    graph = deployed()
    graph.node("fc.quant").attributes["scale"] = scale
    found = check(graph)
    assert [(f.severity, f.node, f.rule) for f in found] == [("warning", "fc.quant", "scale-range")] * count


def wide_gemm(rows: int, weight: int, zero: float) -> Graph:
    net = Net()
    net.graph.add_output(net.add("Gemm", "fc", [net.input(1, rows), net.weight("w", rows, 2)], (1, 2)))
    graph = deploy.lower(net.quantized())
    replaced(graph, "fc", 1, np.full((rows, 2), weight, np.int8))
    graph.node("fc.quant").attributes["offset"] = zero
    return graph


def test_overflow_of_the_sums() -> None:
    """2^31 / (127 * 255) = 66312.0…: one row more can overflow."""
    assert [f.rule for f in check(wide_gemm(66311, 127, -128.0))] == []
    found = only(wide_gemm(66313, 127, -128.0), "overflow")
    assert (found.severity, found.node) == ("warning", "fc")
    assert str(66313 * 127 * 255) in found.sentence


def test_overflow_of_the_folded_bias() -> None:
    graph = wide_gemm(66000, 127, -128.0)
    graph.node("fc").set_input(2, graph.constant(np.int32([0, 2**31 - 1]), "bias"))
    found = only(graph, "overflow")
    assert (found.severity, "channel 1" in found.sentence) == ("error", True)


@pytest.mark.parametrize(("low", "high"), [(-40, 215), (-215, 40)])
def test_bounds_are_reached_and_never_passed(low: int, high: int) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(-128, 128, (30, 5)).astype(np.int8)
    bias = random.integers(-500, 500, 30)
    data = np.where(rows > 0, high, low)
    other = np.where(rows > 0, low, high)
    tops = np.maximum(
        (rows * data).sum(1) + np.maximum(bias, 0), -(rows * other).sum(1) - np.minimum(bias, 0)
    )
    assert np.array_equal(sum_bounds(rows, bias, low, high), tops)


def test_float_islands() -> None:
    islands = [
        f for f in check(deploy.lower(many_layers().quantized(skip=("up",)))) if f.rule == "float-island"
    ]
    assert [(f.node, f.severity) for f in islands] == [("up", "warning")]
    assert "between 'left.dequant' and 'pool.quant'" in islands[0].sentence
    assert not [
        f
        for f in check(deploy.lower(many_layers().quantized(skip=("stem", "mm"))))
        if f.rule == "float-island"
    ]


def test_dynamic_inputs_name_the_input() -> None:
    graph = deployed()
    graph.inputs[0].type = tensor(DType.F32, ("N", 4, None, 8))
    found = only(graph, "dynamic-shape")
    assert (found.severity, found.node) == ("warning", "stem.quant")
    assert 'input_shape="x:1,4,?,8" with sizes of your choice' in found.cure
    graph.inputs[0].type = tensor(DType.F32, ("N", 4, "H", 8))
    graph.add_input("mask", tensor(DType.F32, ("N", 9)))
    assert '"x:1,4,H,8;mask:1,9"' in only(graph, "dynamic-shape").cure, "one command for all inputs"
    graph.inputs[0].type = tensor(DType.F32, ("N", 4, 8, 8))
    assert '"x:1,4,8,8;mask:1,9", without' in only(graph, "dynamic-shape").cure


def test_layout_of_the_data() -> None:
    graph = deployed()
    graph.inputs[0].type = tensor(DType.F32, (1, 7, 9, 4))
    found = only(graph, "layout")
    assert (found.severity, found.node) == ("error", "stem")


def test_a_float_model_is_no_deploy_graph() -> None:
    assert "no Ascend op" in check(many_layers().graph)[0].sentence


def test_weights_in_constant_nodes_count() -> None:
    graph = deployed()
    data = Constant.of(held(graph, "left", 1))
    node: Node = graph.add("Constant", [], attributes={"value": data}, before=graph.node("left"))
    graph.node("left").set_input(1, node.output)
    assert check(graph) == ()


def test_every_rule_has_a_sentence_of_documentation() -> None:
    assert all(rule.__doc__ for rule in RULES)
