"""Lowering to the deploy graph and to both fake-quant forms: structure and numbers."""

from __future__ import annotations

import numpy as np
import pytest
from deploy_oracle import run_deploy
from nets import Net, close_activations, many_layers, samples

from qir.backends.ascend import deploy
from qir.backends.ascend.rules import RULES
from qir.backends.fake_quant import lower
from qir.backends.layers import Integers
from qir.frontends.onnx import to_model
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError
from qir.ir.graph import Graph
from qir.ir.types import QuantParams, QuantSpec
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.quantize_weights import QuantizeWeights
from qir.runtime.session import Session

LAYERS = ("stem", "left", "right", "up", "pool", "fc", "mm")


def run(graph: Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(Session(graph, threads=1).run(feeds).values()))


def test_ascend_form_predicts_the_integers_bit_for_bit() -> None:
    graph = many_layers().quantized()
    feeds = samples()
    (expected,) = run_deploy(deploy.lower(graph), feeds).values()
    assert np.array_equal(run(lower(graph, "ascend"), feeds), expected)
    assert np.ptp(expected) > 0.1


def test_integers_made_for_one_graph_serve_the_next() -> None:
    known, first = Integers(), many_layers().quantized()
    other = first.clone()  # the same constants
    weight = other.node("fc").inputs[1]
    assert weight is not None
    params = weight.tensor.quant
    assert isinstance(params, QuantParams)
    weight.type = weight.tensor.with_quant(QuantParams.of(params.spec, 2 * params.scale_array()))
    for graph in (first, other, first.clone()):
        for form in ("ascend", "qdq"):
            assert to_model(lower(graph, form, integers=known)) == to_model(lower(graph, form))
        assert to_model(deploy.lower(graph, known)) == to_model(deploy.lower(graph))


@pytest.mark.parametrize("form", ["ascend", "qdq"])
def test_lowering_in_place_gives_the_same_and_a_copy_leaves_the_graph(form: str) -> None:
    graph = many_layers().quantized()
    before = str(graph)
    expected = to_model(lower(graph, form))
    assert str(graph) == before
    assert to_model(lower(graph, form, in_place=True)) == expected


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13, 17, 21])
def test_ascend_form_keeps_the_opset_and_the_numbers(opset: int) -> None:
    lowered = lower(many_layers(opset).quantized(), "ascend")
    verify(lowered)
    assert lowered.opsets == {"": opset}
    feeds = samples()
    feeds["x"].reshape(-1)[:4] = (1e9, -1e9, 0.5 * 0.031, 1.5 * 0.031)  # clipped, clipped, ties
    expected = run(lower(many_layers(13).quantized(), "ascend"), feeds)
    assert np.array_equal(run(lowered, feeds), expected)


@pytest.mark.parametrize("opset", [9, 13, 21])
def test_qdq_form_agrees_with_the_ascend_form(opset: int) -> None:
    graph = many_layers(opset).quantized()
    lowered = lower(graph, "qdq")
    verify(lowered)
    assert lowered.opsets[""] == max(opset, 13)
    expected = run(lower(graph, "ascend"), samples())
    # Both round alike but for x / scale against x * (1 / scale): a tie may fall to the other side, one step.
    difference = np.abs(run(lowered, samples()) - expected)
    assert difference.max() < 0.02 * np.ptp(expected)
    assert np.median(difference) < 1e-5 * np.ptp(expected)


def test_qdq_form_stores_integers() -> None:
    lowered = lower(many_layers().quantized(), "qdq")
    assert {lowered.value(f"{n}.w").tensor.dtype for n in LAYERS if n != "pool"} == {DType.I8}
    assert {lowered.value(f"{n}.b").tensor.dtype for n in ("stem", "right", "up", "fc", "mm")} == {DType.I32}
    assert lowered.value("up.w").tensor.shape == (4, 3, 2, 2)  # Cout first: Cout = 4, Cin / group = 3
    assert lowered.node("stem.w.dequantize").attributes == {"axis": 0}
    assert lowered.node("fc.w.dequantize").attributes == {}
    quantizers = [n for n in lowered.nodes if n.op == "QuantizeLinear"]
    assert len(quantizers) == 6  # left and right share one
    assert {u.node.name for u in lowered.node("left.dequantize").output.uses} == {"left", "right"}


def test_grouped_transposed_weights_come_back_in_their_layout() -> None:
    graph = many_layers().quantized()
    quant = graph.node("up").inputs[1]
    params = quant.tensor.quant
    assert isinstance(params, QuantParams)
    weight, scale = quant.producer.inputs[0].constant.array, params.scale_array()
    # Spelled out: channel g * 2 + j is index j of input channels 3g, 3g + 1, 3g + 2.
    expected = np.empty_like(weight)
    for cin in range(6):
        for j in range(2):
            step = scale[cin // 3 * 2 + j]
            expected[cin, j] = np.rint(weight[cin, j] / step) * step
    lowered = lower(graph, "qdq")
    found = Session(lowered, taps=[lowered.node("up").inputs[1].name], threads=1).run(samples())
    assert np.array_equal(found[lowered.node("up").inputs[1].name], expected)


def test_int16_needs_opset_21() -> None:
    graph = many_layers().quantized(bits=16)
    lowered = lower(graph, "qdq")
    assert lowered.opsets[""] == 21
    assert int(lowered.metadata["qir.ir_version"]) >= 10
    difference = np.abs(run(lowered, samples()) - run(lower(graph, "ascend"), samples()))
    assert difference.max() < 1e-3
    assert deploy.lower(graph).node("stem.quant").attributes["dst_type"] == "INT16"


def test_deploy_structure() -> None:
    lowered = deploy.lower(many_layers().quantized())
    verify(lowered)
    quants = [n.name for n in lowered.nodes if n.op == "AscendQuant"]
    assert quants == ["stem.quant", "left.quant", "up.quant", "pool.quant", "fc.quant", "mm.quant"]
    assert lowered.node("right").inputs[0] is lowered.node("left.quant").output
    assert {lowered.node(f"{n}.dequant").domain for n in LAYERS} == {""}
    assert lowered.opsets == {"": 13}
    quant = lowered.node("stem.quant")
    assert quant.attributes == {
        "scale": float(np.float32(1) / np.float32(0.031)),
        "offset": 5.0,
        "dst_type": "INT8",
    }
    assert type(quant.attributes["offset"]) is float
    assert type(lowered.node("fc.dequant").attributes["dtype"]) is int
    assert lowered.value("stem.w").tensor.dtype is DType.I8
    assert lowered.value("mm.b").tensor.dtype is DType.I32
    assert lowered.value("up.dequant.param").tensor.dtype is DType.U64
    assert lowered.value("up.dequant.param").tensor.shape == (4,)
    assert lowered.value("pool.dequant.param").tensor.shape == (1,)
    # The dequantization of a MatMul with a bias stands behind the Add, and takes over the output's name.
    assert lowered.node("mm.dequant").inputs[0] is lowered.node("bias").output
    assert [v.name for v in lowered.outputs] == ["bias_out"]
    assert lowered.node("bias").output.name == "bias_output0"


def test_fake_quant_names_are_those_of_amct() -> None:
    lowered = lower(many_layers().quantized(), "ascend")
    parts = ("scale", "offset", "mul", "round", "add", "min_val", "max_val", "clip", "sub")
    names = {n.name for n in lowered.nodes}
    assert {f"stem.quant.fakequant.{p}" for p in parts} <= names
    assert {"stem.fakedequant.dqscale", "stem.fakedequant.mul"} <= names
    shapes = {n: lowered.node(f"{n}.fakedequant.dqscale").output.tensor.shape for n in LAYERS}
    assert shapes == {
        "stem": (1, 4, 1, 1), "left": (1, 6, 1, 1), "right": (1, 6, 1, 1), "up": (1, 4, 1, 1),
        "pool": (1, 1), "fc": (1, 1), "mm": (1, 1),
    }  # fmt: skip
    weights = lowered.value("stem.w").constant.array
    assert weights.dtype == np.float32
    assert np.array_equal(weights, np.rint(weights))
    assert 127 <= np.abs(weights).max() <= 128


@pytest.mark.parametrize("shape", [(7,), None])
def test_a_vector_times_a_matrix_stays_a_vector(shape: tuple[int, ...] | None) -> None:
    net = Net()
    net.graph.add_output(net.add("MatMul", "mm", [net.input(4), net.weight("w", 4, 7)], shape))
    for form in ("ascend", "qdq"):
        found = run(lower(net.quantized(), form), {"x": np.ones(4, np.float32)})
        assert found.shape == (7,)


def test_lowering_leaves_the_graph_alone() -> None:
    graph = many_layers().quantized()
    before = str(graph)
    for form in ("ascend", "qdq"):
        lower(graph, form)
    deploy.lower(graph)
    assert str(graph) == before


def test_shared_weights_stay_shared_and_floats_survive_for_others() -> None:
    net = Net()
    x, shared = net.input("N", 4), net.weight("w", 4, 4)
    y = net.add("MatMul", "a", [x, shared], ("N", 4))
    z = net.add("MatMul", "b", [y, shared], ("N", 4))
    net.graph.add_output(net.add("Add", "c", [z, shared], ("N", 4)))
    lowered = deploy.lower(net.quantized())
    assert lowered.node("a").inputs[1] is lowered.node("b").inputs[1]
    assert lowered.node("a").inputs[1].tensor.dtype is DType.I8
    assert lowered.node("c").inputs[1].name == "w"
    assert lowered.node("c").inputs[1].tensor.dtype is DType.F32


def test_equal_quants_of_different_specs_become_one() -> None:
    net = Net()
    x = net.input("N", 2, 3, 4, 4)
    y = net.add("Conv", "vol", [x, net.weight("w", 2, 2, 1, 1, 1)], ("N", 2, 3, 4, 4))
    z = net.add("MatMul", "mm", [x, net.weight("m", 4, 4)], ("N", 2, 3, 4, 4))
    net.graph.add_output(net.add("Add", "sum", [y, z], ("N", 2, 3, 4, 4)))
    context = Context(rules=RULES)
    InsertQuant().run(net.graph, context)
    QuantizeWeights().run(net.graph, context)
    for layer in ("vol", "mm"):
        value = net.graph.node(layer).inputs[0]
        assert isinstance(value.tensor.quant, QuantSpec)
        value.type = value.tensor.with_quant(QuantParams.of(value.tensor.quant, 0.05, 0))
    assert net.graph.node("vol").inputs[0] is not net.graph.node("mm").inputs[0]
    lowered = deploy.lower(net.graph)
    assert lowered.node("vol").inputs[0] is lowered.node("mm").inputs[0]


def test_own_metadata_stays_out_of_the_files() -> None:
    graph = many_layers().quantized(skip=("fc",))
    graph.node("stem").metadata.update({"qir.fused": '["bn"]', "qir.doc_string": "text", "mine": "kept"})
    assert "qir.float" in graph.node("fc").metadata
    for lowered in (deploy.lower(graph), lower(graph, "ascend"), lower(graph, "qdq")):
        assert lowered.node("stem").metadata == {"qir.doc_string": "text", "mine": "kept"}
        assert lowered.node("fc").metadata == {}


@pytest.mark.parametrize(
    ("missing", "names"), [("weights", ["stem", "quantize-weights"]), ("bias", ["stem", "quantize-bias"])]
)
def test_open_quants_are_named_with_the_missing_pass(missing: str, names: list[str]) -> None:
    net = many_layers()
    context = Context(rules=RULES)
    InsertQuant().run(net.graph, context)
    if missing != "weights":
        QuantizeWeights().run(net.graph, context)
    close_activations(net.graph)
    for write in (deploy.lower, lambda g: lower(g, "ascend"), lambda g: lower(g, "qdq")):
        with pytest.raises(BackendError) as caught:
            write(net.graph)
        assert all(name in str(caught.value) for name in names)


def test_uncalibrated_graphs_name_calibrate() -> None:
    net = many_layers()
    context = Context(rules=RULES)
    InsertQuant().run(net.graph, context)
    QuantizeWeights().run(net.graph, context)
    with pytest.raises(BackendError, match=r"layer 'stem'.*run calibrate"):
        deploy.lower(net.graph)


def test_quants_that_no_layer_explains_are_refused() -> None:
    graph = many_layers().quantized()
    both = graph.node("both")
    value = graph.node("up").inputs[0]
    relu = graph.add("Relu", [value], name="stray")
    graph.add_output(relu.output)
    with pytest.raises(BackendError, match=r"feeds input 0 of 'stray' \(Relu\)"):
        deploy.lower(graph)
    assert both.name == "both"
    assert run(lower(graph, "qdq"), samples()).shape == (3, 7)  # the portable form can write it


def test_unknown_form() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ascend'"):
        lower(many_layers().quantized(), "ascand")
