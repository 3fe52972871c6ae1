"""Precisions beside INT8: INT4 weights, INT16 inputs, float16 models, tensors that travel as integers."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from amct_reference import DATA, assert_same_deploy_model, assert_same_fake_quant_output, reference
from nets import Net, many_layers, samples

from qir.backends.ascend import deploy
from qir.backends.ascend.quant_info import quant_info
from qir.backends.ascend.record import LayerRecord, print_record, records
from qir.backends.ascend.record_reader import parse_record
from qir.backends.ascend.rules import RULES
from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.frontends.onnx import read_model
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers, quantized_tensors
from qir.ir.types import QuantParams, QuantSpec, TensorType, spec_of
from qir.ir.verify import verify
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.report import report_layers
from qir.runtime.data import open_data
from qir.runtime.int4 import unpack_int4
from qir.runtime.session import Session

AMCT = target_named("ascend").pipelines["amct"]
VARIANTS = {
    "int4": AMCT.replace("insert-quant", "insert-quant{weight-bits=4}"),
    "fp16": AMCT.replace("weights=quantized", "weights=quantized scales=float16"),
}


def run(graph: Graph, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(Session(graph, threads=1).run(feeds).values()))


def finished(graph: Graph, insert: InsertQuant) -> Graph:
    """The graph quantized with seeded data and min-max."""
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    passes = "quantize-weights,calibrate{method=min-max},quantize-bias"
    PassManager((insert,)).run(graph, context)
    PassManager(passes).run(graph, context)
    return graph


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
    assert layers["up"].reason.startswith("int4 weights were asked for, but it has 2 groups")


def test_int4_of_a_transposed_convolution() -> None:
    net = Net()
    x = net.input("N", 4, 8, 8)
    net.graph.add_output(net.add("ConvTranspose", "up", [x, net.weight("w", 4, 6, 2, 2)], ("N", 6, 9, 9)))
    graph = finished(net.graph, InsertQuant(weight_bits=4))
    stored = deploy.lower(graph).value("w").constant.array
    assert stored.shape == (2, 6, 2, 2)
    assert np.array_equal(unpack_int4(stored, 0), lower(graph, "ascend").value("w").constant.array)


def test_int16_inputs() -> None:
    graph = finished(many_layers().graph, InsertQuant(bits=16))
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
        graph = finished(many_layers().graph, InsertQuant(bits=bits))
        for layer in quantized_layers(graph):
            weight = None if layer.op == "AveragePool" else layer.inputs[1].producer
            if weight is not None:
                layer.set_input(1, weight.inputs[0])
        errors[bits] = np.abs(run(lower(graph, "qdq"), samples()) - exact).max()
    assert errors[16] < errors[8] / 100


def test_int16_and_int4_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"bits=16 does not go with weight-bits=4"):
        InsertQuant(bits=16, weight_bits=4)


def in_float16(graph: Graph) -> Graph:
    """The same graph with weights and all types in float16."""
    half = graph.clone()
    for value in half.values():
        if value.constant is not None:
            name, data = value.name, value.constant.array.astype(np.float16)
            half.rename(value, f"{name}.f32")
            half.replace(value, half.constant(data, name))
            half.erase(value)
        else:
            value.type = TensorType(DType.F16, value.tensor.shape)
    return half


def f16_samples() -> dict[str, np.ndarray]:
    return {name: array.astype(np.float16) for name, array in samples().items()}


def quantized_float16() -> Graph:
    graph = in_float16(many_layers().graph)
    context = Context(rules=RULES, data=open_data(f16_samples(), graph))
    PassManager("insert-quant,quantize-weights,calibrate{method=min-max},quantize-bias").run(graph, context)
    return graph


def test_float16_layers_compute_between_casts() -> None:
    graph = quantized_float16()
    layers = ["stem", "left", "right", "up", "fc", "mm"]
    assert [n.name for n in quantized_layers(graph)] == layers  # AveragePool of float16 stays
    lowered = lower(graph, "ascend")
    verify(lowered)
    for name in layers:
        dequant = lowered.node(f"{name}.fakedequant.cast")
        assert (dequant.attributes["to"], dequant.output.tensor.dtype) == (10, DType.F16)
        assert dequant.inputs[0] is lowered.node(f"{name}.fakedequant.mul").output
        assert lowered.node(name).output.tensor.dtype is DType.F32
        quant = "left" if name == "right" else name
        assert lowered.node(f"{quant}.quant.fakequant.cast").attributes["to"] == 1
    assert [v.tensor.dtype for v in (*lowered.inputs, *lowered.outputs)] == [DType.F16] * 2
    assert [v.name for v in lowered.outputs] == ["bias_out"]
    assert {r.precision for r in report_layers(graph, {}) if r.name == "pool"} == {"float16"}


def test_float16_deploy_graph() -> None:
    graph = quantized_float16()
    lowered = deploy.lower(graph)
    verify(lowered)
    assert {n.attributes["dtype"] for n in lowered.nodes if n.op == "AscendDequant"} == {1}
    assert lowered.node("mm.dequant").output.tensor.dtype is DType.F16
    ops = json.loads(quant_info(graph, lowered, "net"))["graph"][0]["op"]
    described = [a for op in ops for o in op.get("output_desc", []) for a in o["attr"]]
    kinds = {a["value"]["s"] for a in described if a["key"] == "_datadump_data_type"}
    assert kinds == {"DT_FLOAT16"}


def test_float16_numbers() -> None:
    graph = quantized_float16()
    found = run(lower(graph, "ascend"), f16_samples())
    assert found.dtype == np.float16
    portable = lower(graph, "qdq")
    verify(portable)
    assert portable.node("stem").output.tensor.dtype is DType.F32
    assert [v.name for v in portable.outputs] == ["bias_out"]
    exact = run(in_float16(many_layers().graph), f16_samples()).astype(np.float32)
    for result in (found, run(portable, f16_samples())):
        assert result.dtype == np.float16
        difference = np.abs(result.astype(np.float32) - exact).max()
        assert 0 < difference < 0.05 * np.ptp(exact)


def test_float16_readers_that_are_no_layers_get_float16() -> None:
    graph = quantized_float16()
    quant = graph.node("up").inputs[0]
    relu = graph.add("Relu", [quant], name="stray", types=[quant.tensor.with_quant(None)])
    graph.add_output(relu.output)
    lowered = lower(graph, "qdq")
    verify(lowered)
    assert lowered.node("stray").inputs[0].tensor.dtype is DType.F16
    assert lowered.node("up").inputs[0].tensor.dtype is DType.F32
    found = list(Session(lowered, threads=1).run(f16_samples()).values())
    assert [array.dtype for array in found] == [np.float16] * 2


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


def test_one_float16_layer_is_the_float32_one_rounded() -> None:
    net = Net()
    data = net.weight("w", 6, 4, 3, 3)
    net.graph.add_output(net.add("Conv", "conv", [net.input("N", 4, 8, 8), data], ("N", 6, 6, 6)))
    half = in_float16(net.graph)
    wide = half.clone()
    for value in wide.values():
        value.type = TensorType(DType.F32, value.tensor.shape)
    weights = half.value("w").constant.array.astype(np.float32)
    wide.node("conv").set_input(1, wide.constant(weights, "wide"))
    results = []
    for graph, feeds in ((half, f16_samples()), (wide, samples())):
        PassManager("insert-quant,quantize-weights").run(graph, Context(rules=RULES))
        value = graph.node("conv").inputs[0]
        value.type = value.tensor.with_quant(QuantParams.of(QuantSpec(DType.I8, False), 0.03, 4))
        given = {"x": f16_samples()["x"].astype(feeds["x"].dtype)}
        results.append(run(lower(graph, "ascend"), given))
    assert results[1].dtype == np.float32
    assert np.array_equal(results[0], results[1].astype(np.float16))


def test_scales_of_float16_tensors_are_float16_numbers() -> None:
    for graph, wanted in ((quantized_float16(), True), (finished(many_layers().graph, InsertQuant()), False)):
        scales = [record.scale_d for record in records(graph).values()]
        assert all(float(np.float16(scale)) == scale for scale in scales) == wanted


def tensor_net() -> Net:
    net = Net()
    x = net.input("N", 4, 8, 8)
    pool = net.add("MaxPool", "pool", [x], ("N", 4, 8, 8), {"kernel_shape": (1, 1)})
    conv = net.add("Conv", "conv", [x, net.weight("w", 4, 4, 1, 1)], ("N", 4, 8, 8))
    net.graph.add_output(net.add("Add", "sum", [pool, conv], ("N", 4, 8, 8)))
    return net


def test_tensors_travel_as_integers() -> None:
    graph = finished(tensor_net().graph, InsertQuant(tensors=("pool:0", "sum:1")))
    lowered = deploy.lower(graph)
    verify(lowered)
    found = [(n.op, n.name) for n in lowered.nodes if n.op.startswith("Ascend")]
    assert found == [
        ("AscendQuant", "pool.quant"),  # shared with conv
        ("AscendAntiQuant", "pool.anti_quant"),
        ("AscendDequant", "conv.dequant"),
        ("AscendQuant", "sum.quant"),
        ("AscendAntiQuant", "sum.anti_quant"),
    ]
    restored = lowered.node("pool.anti_quant")
    assert lowered.node("conv").inputs[0] is restored.inputs[0] is lowered.node("pool.quant").output
    assert lowered.node("pool").inputs[0] is restored.output
    found_records = records(graph)
    assert list(found_records) == ["conv", "pool:0", "sum:1"]
    pool = found_records["pool:0"]
    assert pool == LayerRecord(pool.scale_d, pool.offset_d, (), wts_type=None, is_tensor_quantize=True)
    assert restored.attributes == {
        "scale": pool.scale_d, "offset": float(pool.offset_d), "dst_type": "INT8",
    }  # fmt: skip
    assert parse_record(print_record(found_records)) == found_records
    attr = json.loads(quant_info(graph, lowered, "net"))["graph"][0]["op"]
    origins = {op["name"]: op["attr"][0]["value"]["list"]["s"] for op in attr}
    assert (origins["pool.anti_quant"], origins["pool"]) == ([], ["pool"])
    reports = {layer.name: layer for layer in report_layers(graph, {})}
    assert reports["sum"].reason == "computes in float; what input 1 reads travels as int8"
    assert not reports["sum"].is_quantized


def test_tensors_have_the_numbers_of_fake_quantization() -> None:
    x = samples()["x"]
    net = tensor_net()
    graph = finished(net.graph, InsertQuant(tensors=("pool:0",)))
    (params,) = {v.tensor.quant for v in graph.values() if v.name == "x.q"}
    scale, zero = params.scale_array()[0], params.zero_point[0]
    steps = np.clip(np.rint(x * (np.float32(1) / scale)) + zero, -128, 127) - zero
    for form in ("ascend", "qdq"):
        lowered = lower(graph, form)
        verify(lowered)
        (found,) = Session(lowered, taps=["pool_out"], threads=1).run({"x": x}, ["pool_out"]).values()
        assert np.allclose(found, steps.astype(np.float32) * scale, atol=0 if form == "ascend" else 1e-6)


def test_tensors_that_the_target_cannot_take() -> None:
    graph = finished(tensor_net().graph, InsertQuant(tensors=("sum:1",)))
    ((node, index),) = quantized_tensors(graph)
    value = node.inputs[index]
    value.type = value.tensor.with_quant(QuantParams.of(QuantSpec(DType.I16), 0.1))
    with pytest.raises(BackendError, match=r"input 1 of 'sum' \(Add\) cannot be quantized: it is i16"):
        deploy.lower(graph)


def test_layers_of_other_float_types_are_refused() -> None:
    graph = finished(many_layers().graph, InsertQuant())
    value = graph.node("fc").inputs[0]
    value.type = TensorType(DType.F64, value.tensor.shape, value.tensor.quant)
    with pytest.raises(BackendError, match=r"layer 'fc' \(Gemm\) is f64"):
        deploy.lower(graph)


def test_rounded_scales_are_an_option() -> None:
    assert Calibrate().scales == "auto"
    graph = many_layers().graph
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    PassManager("insert-quant,quantize-weights,calibrate{scales=float16},quantize-bias").run(graph, context)
    for record in records(graph).values():
        assert float(np.float16(record.scale_d)) == record.scale_d
