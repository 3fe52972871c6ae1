"""INT4 weights and INT16 inputs, and the outputs of the reference for them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from amct_reference import DATA, assert_same_deploy_model, assert_same_fake_quant_output, reference
from nets import Net, finished, many_layers, run, samples

from qir.backends.ascend import deploy
from qir.backends.ascend.record import print_record, records
from qir.backends.ascend.record_in import apply
from qir.backends.ascend.record_reader import parse_record
from qir.backends.ascend.rules import RULES
from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.frontends.onnx import read_model
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError, ModelError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.types import QuantParams, spec_of
from qir.ir.verify import verify
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context, RewriteLog
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.report import report_layers
from qir.runtime.data import open_data
from qir.runtime.deploy import DeploySession
from qir.runtime.int4 import unpack_int4

AMCT = target_named("ascend").pipelines["amct"]
VARIANTS = {
    "int4": AMCT.replace("insert-quant", "insert-quant{weight-bits=4}"),
    "fp16": AMCT.replace("weights=quantized", "weights=quantized scales=float16"),
}


@cache
def with_reference_scales(net: str) -> Graph:
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=RULES)
    before, after = (text.strip(",") for text in VARIANTS[net].split("quantize-weights"))
    PassManager(f"{before},quantize-weights").run(graph, context)
    for layer in quantized_layers(graph):
        value, record = layer.inputs[0], reference(net)[layer.name]
        params = QuantParams.of(spec_of(value.tensor.quant), record.scale_d, record.offset_d)
        value.type = value.tensor.with_quant(params)
    PassManager(after.rpartition(",")[2]).run(graph, context)
    return graph


@pytest.mark.parametrize("net", VARIANTS)
def test_reference_scales_give_the_models_of_the_reference(net: str) -> None:
    graph = with_reference_scales(net)
    assert_same_deploy_model(graph, net)
    assert_same_fake_quant_output(graph, net)
    assert print_record(records(graph)) == (DATA / net / "record.txt").read_text()


@pytest.mark.parametrize("net", VARIANTS)
def test_the_pipeline_chooses_what_the_reference_chose(net: str) -> None:
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=RULES, data=open_data(DATA / net / "calib.npz", graph))
    PassManager(VARIANTS[net]).run(graph, context)
    found, expected = records(graph), reference(net)
    for name, golden in expected.items():
        assert (found[name].scale_w, found[name].offset_d) == (golden.scale_w, golden.offset_d)
        # float16 scales are 5e-4 apart, so they are the same numbers or far away.
        assert found[name].scale_d == pytest.approx(golden.scale_d, rel=1e-6)
        assert found[name].wts_type == golden.wts_type


def test_int4_weights_are_packed_along_the_input_channels() -> None:
    net = many_layers()
    graph = finished(net.graph, InsertQuant(weight_bits=4))
    lowered, fake, portable = deploy.lower(graph), lower(graph, "ascend"), lower(graph, "qdq")
    verify(lowered)
    axes = {"left": 1, "fc": 0, "mm": 0}
    for name in ("stem", "left", "right", "up", "fc", "mm"):
        stored = lowered.value(f"{name}.w").constant.array
        integers = fake.value(f"{name}.w").constant.array
        assert stored.dtype == np.int8
        whole = unpack_int4(stored, axes[name]) if name in axes else stored
        assert np.array_equal(whole, integers)
        # 4 bits: at most 8 steps; 8 bits: at least 127.
        assert (np.abs(integers).max() <= 8) == (name in axes)
    assert np.array_equal(portable.value("left.w").constant.array, fake.value("left.w").constant.array)
    expected = run(fake, samples())
    assert np.median(np.abs(run(portable, samples()) - expected)) < 1e-5 * np.ptp(expected)
    types = {name: record.wts_type for name, record in records(graph).items()}
    assert types == {
        "stem": "INT8", "left": "INT4", "right": "INT8", "up": "INT8", "pool": None,
        "fc": "INT4", "mm": "INT4",
    }  # fmt: skip
    layers = {layer.name: layer for layer in report_layers(graph, {})}
    assert (layers["left"].precision, layers["left"].reason) == ("int8 x int4", "")
    assert layers["up"].precision == "int8"
    assert layers["up"].reason.startswith("weights of fewer bits were asked for, but it has 2 groups")


def with_weights(kind: DType, *names: str) -> Graph:
    """Many layers, quantized; the weights of those with these names are closed in another type."""
    graph = many_layers().graph
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    InsertQuant().run(graph, context)
    for name in names:
        value = graph.node(name).inputs[1]
        value.type = value.tensor.with_quant(replace(value.tensor.quant, qtype=kind))
    PassManager("quantize-weights,calibrate{method=min-max},quantize-bias").run(graph, context)
    return graph


@pytest.mark.parametrize(("kind", "largest"), [(DType.I6, 32), (DType.I7, 64)])
def test_six_and_seven_bit_weights_are_stored_in_eight(kind: DType, largest: int) -> None:
    graph = with_weights(kind, "stem", "left")
    lowered, fake, portable = deploy.lower(graph), lower(graph, "ascend"), lower(graph, "qdq")
    verify(lowered)
    for name in ("stem", "left"):
        stored = lowered.value(f"{name}.w").constant.array
        assert stored.dtype == np.int8
        assert largest - 1 <= np.abs(stored.astype(int)).max() <= largest
        assert np.array_equal(stored, fake.value(f"{name}.w").constant.array)
        assert np.array_equal(stored, portable.value(f"{name}.w").constant.array)
        assert records(graph)[name].wts_type == kind.value.replace("i", "INT")
    layers = {layer.name: layer.precision for layer in report_layers(graph, {})}
    assert (layers["stem"], layers["right"]) == (f"int8 x int{kind.bits}", "int8")
    expected = run(fake, samples())
    assert np.median(np.abs(run(portable, samples()) - expected)) < 1e-5 * np.ptp(expected)
    again = many_layers().graph
    apply(again, parse_record(print_record(records(graph))), RewriteLog())
    assert records(again) == records(graph)
    assert np.array_equal(run(lower(again, "ascend"), samples()), expected)


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        (DType.I5, "left", "layer 'left' has INT5 weights, but Ascend has no INT5 weights, only INT4"),
        (DType.I6, "fc", "layer 'fc' has INT6 weights, but it is a Gemm with a weight of 2 dimensions"),
        (DType.I4, "right", "layer 'right' has INT4 weights, but it has 2 groups"),
    ],
)
def test_widths_that_the_hardware_does_not_have(kind: DType, name: str, sentence: str) -> None:
    graph = with_weights(kind, name)
    with pytest.raises(BackendError, match=sentence):
        deploy.lower(graph)
    assert np.abs(lower(graph, "qdq").value(f"{name}.w").constant.array).max() <= 1 << (kind.bits - 1)


def test_narrow_weights_by_insert_quant() -> None:
    graph = finished(many_layers().graph, InsertQuant(weight_bits=6))
    assert [r.wts_type for r in records(graph).values()] == ["INT6"] * 3 + ["INT8", None, "INT8", "INT8"]
    layers = {layer.name: layer.reason for layer in report_layers(graph, {})}
    assert layers["fc"].startswith("weights of fewer bits were asked for, but it is a Gemm")
    with pytest.raises(ConfigError, match="target 'ascend' has no weights of 5 bits, only of 4, 6, 7, 8"):
        finished(many_layers().graph, InsertQuant(weight_bits=5))


def with_open_sizes(graph: Graph, *, stated: bool) -> Graph:
    """The graph for images of any size; without `stated`, it says nothing of the shapes in it."""
    image = graph.inputs[0]
    image.type = replace(image.tensor, shape=("N", 4, "H", "W"))
    for node in () if stated else graph.nodes:
        node.output.type = replace(node.output.tensor, shape=None)
    return graph


def test_int4_where_the_inputs_are_of_open_size() -> None:
    """What the first matrix reads is only known from the shapes that the graph states."""
    graph = finished(many_layers().graph, InsertQuant(weight_bits=4))
    session = DeploySession(with_open_sizes(deploy.lower(graph), stated=True))
    assert np.array_equal(session.run(None, samples())[0], run(lower(graph), samples()))
    with pytest.raises(ModelError, match=r"channels layer 'fc' reads, .* give the inputs .* fixed sizes"):
        DeploySession(with_open_sizes(deploy.lower(graph), stated=False)).run(None, samples())


def test_int4_of_a_transposed_convolution() -> None:
    net = Net()
    x = net.input("N", 4, 8, 8)
    net.graph.add_output(net.add("ConvTranspose", "up", [x, net.weight("w", 4, 6, 2, 2)], ("N", 6, 9, 9)))
    graph = finished(net.graph, InsertQuant(weight_bits=4))
    stored = deploy.lower(graph).value("w").constant.array
    assert stored.shape == (2, 6, 2, 2)
    assert np.array_equal(unpack_int4(stored, 0), lower(graph, "ascend").value("w").constant.array)


def test_int16_inputs() -> None:
    graph = finished(many_layers().graph, InsertQuant(precision="int16"))
    layers = {layer.name: (layer.precision, layer.reason) for layer in report_layers(graph, {})}
    assert {name for name, (precision, _) in layers.items() if precision == "int16"} == {
        "stem", "left", "right", "up", "fc",
    }  # fmt: skip
    assert layers["mm"] == ("float32", "INT16 was asked for, but there is no INT16 form of MatMul")
    lowered = deploy.lower(graph)
    attributes = lowered.node("stem.quant").attributes
    assert attributes["dst_type"] == "INT16"
    assert -32768 <= attributes["offset"] <= 32767
    assert abs(attributes["offset"]) > 128
    assert records(graph)["stem"].act_type == "INT16"
    assert parse_record(print_record(records(graph))) == records(graph)
    # Inputs in 16 bits leave the error of the int8 weights.
    exact = run(many_layers().graph, samples())
    errors = {}
    for bits in (8, 16):
        graph = finished(many_layers().graph, InsertQuant(precision="int16" if bits == 16 else "int8"))
        for layer in quantized_layers(graph):
            weight = None if layer.op == "AveragePool" else layer.inputs[1].producer
            if weight is not None:
                layer.set_input(1, weight.inputs[0])
        errors[bits] = np.abs(run(lower(graph, "qdq"), samples()) - exact).max()
    assert errors[16] < errors[8] / 100


def test_int16_and_int4_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="precision=int16 does not go with weight-bits=4"):
        InsertQuant(precision="int16", weight_bits=4)


def test_pipelines_of_other_precisions() -> None:
    expected = {
        "int16": {"int16": 5, "int8": 2},  # AveragePool and MatMul have no INT16 form
        "int4": {"int8": 4, "int8 x int4": 3},
    }
    for name, wanted in expected.items():
        graph = many_layers().graph
        context = Context(rules=RULES, data=open_data(samples(2), graph))
        PassManager(target_named("ascend").pipelines[name]).run(graph, context)
        found = [layer.precision for layer in report_layers(graph, {})]
        assert {kind: found.count(kind) for kind in sorted(set(found))} == wanted


def test_rounded_scales_are_an_option() -> None:
    assert Calibrate().scales == "auto"
    graph = many_layers().graph
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    PassManager("insert-quant,quantize-weights,calibrate{scales=float16},quantize-bias").run(graph, context)
    for record in records(graph).values():
        assert float(np.float16(record.scale_d)) == record.scale_d


@pytest.mark.parametrize("precision", ["int4", "int16"])
def test_the_deploy_graph_computes_what_the_fake_quant_graph_predicts(precision: str) -> None:
    insert = {"int4": InsertQuant(weight_bits=4), "int16": InsertQuant(precision="int16")}[precision]
    graph, feeds = finished(many_layers().graph, insert), samples()
    expected = run(lower(graph, "ascend"), feeds)
    (found,) = DeploySession(deploy.lower(graph)).run(None, feeds)
    assert found.dtype == expected.dtype
    if precision == "int16":  # sums above 2^24 are rounded in float32, not in integers
        assert np.abs(found - expected).max() < 2e-5 * np.ptp(expected)
    else:
        assert np.array_equal(found, expected)
