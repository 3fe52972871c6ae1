"""Layers of float16 models in all three lowerings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nets import Net, finished, many_layers, run, samples

import qir
from qir.backends.ascend import deploy
from qir.backends.ascend.quant_info import quant_info
from qir.backends.ascend.record import records
from qir.backends.ascend.rules import RULES
from qir.backends.fake_quant import lower
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.types import QuantParams, QuantSpec, TensorType
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.report import report_layers
from qir.runtime.data import open_data
from qir.runtime.deploy import DeploySession
from qir.runtime.session import Session


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


def test_float16_deploy_graph_computes_what_the_fake_quant_graph_predicts() -> None:
    graph, feeds = quantized_float16(), f16_samples()
    (found,) = DeploySession(deploy.lower(graph)).run(None, feeds)
    assert found.dtype == np.float16
    assert np.array_equal(found, run(lower(graph, "ascend"), feeds))


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


def test_layers_of_other_float_types_are_refused() -> None:
    graph = finished(many_layers().graph, InsertQuant())
    value = graph.node("fc").inputs[0]
    value.type = TensorType(DType.F64, value.tensor.shape, value.tensor.quant)
    with pytest.raises(BackendError, match=r"layer 'fc' \(Gemm\) is f64"):
        deploy.lower(graph)


def test_a_model_all_in_float16_is_no_mistake(tmp_path: Path) -> None:
    config = {"model_config": {"all_node_type": "float16"}}
    data = {"input": np.zeros((2, 1, 16, 16), np.float32)}
    made = qir.quantize("sample:digits", data, config=config, output=tmp_path / "d")
    assert [(found.severity, found.rule) for found in made.report.findings] == [("info", "all-float")]
    some = qir.quantize(
        "sample:digits",
        data,
        config=config | {"node_config": {"/f1/Gemm": {"qtype": "int8"}}},
        output=tmp_path / "e",
    )
    assert "all-float" not in [found.rule for found in some.report.findings]
