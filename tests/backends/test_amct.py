"""Comparison with the outputs of the reference, AMCT, in tests/data/amct (one small net a folder).

First with its activation scales put into the graph: then every integer must be the same. Then the whole
pipeline `amct` from float model and calibration data.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from amct_reference import DATA, NETS, assert_same_deploy_model, assert_same_fake_quant_output, reference

from qir.backends.ascend.record import print_record, records
from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.frontends.onnx import read_model, to_model
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.types import QuantParams, spec_of
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.runtime.data import open_data
from qir.runtime.session import Session

WITH_VARIANT = (*NETS, "default_sym")
TARGET = target_named("ascend")


@cache
def with_reference_scales(net: str) -> Graph:
    """The float model through the pipeline `amct`, with the reference's activation scales."""
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=TARGET.rules)
    before, calibrate, after = TARGET.pipelines["amct"].partition("calibrate{weights=quantized}")
    assert calibrate
    PassManager(before.rstrip(",")).run(graph, context)
    for layer in quantized_layers(graph):
        value, record = layer.inputs[0], reference(net)[layer.name]
        assert value is not None
        params = QuantParams.of(spec_of(value.tensor.quant), record.scale_d, record.offset_d)
        if isinstance(value.tensor.quant, QuantParams):
            assert value.tensor.quant == params  # two layers that read one tensor
        value.type = value.tensor.with_quant(params)
    PassManager(after.lstrip(",")).run(graph, context)
    return graph


@cache
def calibrated(net: str) -> Graph:
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=TARGET.rules, data=open_data(DATA / net / "calib.npz", graph))
    PassManager(TARGET.pipelines["amct"]).run(graph, context)
    return graph


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_deploy_model_is_the_reference_bit_for_bit(net: str) -> None:
    assert_same_deploy_model(with_reference_scales(net), net)


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_record_is_the_reference_byte_for_byte(net: str) -> None:
    found = print_record(records(with_reference_scales(net)))
    assert found == (DATA / net / "record.txt").read_text()


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_fake_quant_model_computes_what_the_reference_computed(net: str) -> None:
    assert_same_fake_quant_output(with_reference_scales(net), net)


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_fake_quant_model_has_the_nodes_of_the_reference(net: str) -> None:
    mine = to_model(lower(with_reference_scales(net), "ascend"))
    golden = onnx.load(DATA / net / "amct_fake_quant_model.onnx")
    parts = [".quant.fakequant.", ".fakedequant."]
    added = [
        {n.name: n.op_type for n in m.graph.node if any(p in n.name for p in parts)} for m in (mine, golden)
    ]
    assert added[0] == added[1]


@pytest.mark.parametrize("net", NETS)
def test_pipeline_amct_chooses_what_the_reference_chose(net: str) -> None:
    found, expected = records(calibrated(net)), reference(net)
    assert list(found) == list(expected)
    for name, golden in expected.items():
        mine = found[name]
        assert mine.scale_w == golden.scale_w, name
        assert (mine.act_type, mine.wts_type) == (golden.act_type, golden.wts_type)
        # The same IFMR candidate (neighbours are 1/130 apart); convolution engines differ in the last bits.
        assert abs(mine.scale_d / golden.scale_d - 1) < 1e-6, name
        assert mine.offset_d == golden.offset_d, name


@pytest.mark.parametrize("net", NETS)
def test_pipeline_amct_is_as_accurate_as_the_reference(net: str) -> None:
    golden = np.load(DATA / net / "test.npz")
    lowered = lower(calibrated(net), "ascend")
    (found,) = Session(lowered, threads=1).run({"input": golden["input"]}).values()
    error = np.sqrt(np.mean((found - golden["float_output"]) ** 2))
    reference_error = np.sqrt(np.mean((golden["fake_quant_output"] - golden["float_output"]) ** 2))
    assert error < 1.25 * reference_error
