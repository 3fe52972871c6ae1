"""Tensor quantization: inputs of MaxPool and Add that travel as integers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nets import Net, finished, run, samples

from qir.backends.ascend import deploy
from qir.backends.ascend.quant_info import quant_info
from qir.backends.ascend.record import LayerRecord, print_record, records
from qir.backends.ascend.record_reader import parse_record
from qir.backends.fake_quant import lower
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.quants import quantized_tensors
from qir.ir.types import QuantParams, QuantSpec
from qir.ir.verify import verify
from qir.passes.insert_quant import InsertQuant
from qir.report import report_layers
from qir.runtime.deploy import DeploySession
from qir.runtime.session import Session


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


def test_the_deploy_graph_restores_the_same_numbers() -> None:
    graph = finished(tensor_net().graph, InsertQuant(tensors=("pool:0", "sum:1")))
    (found,) = DeploySession(deploy.lower(graph)).run(None, samples())
    assert np.array_equal(found, run(lower(graph, "ascend"), samples()))
