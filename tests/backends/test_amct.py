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
AMCT_CALIBRATE = "calibrate{weights=quantized}"


@cache
def with_reference_scales(net: str) -> Graph:
    """The float model through the pipeline `amct`, with the reference's activation scales."""
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=TARGET.rules)
    before, calibrate, after = TARGET.pipelines["amct"].partition(AMCT_CALIBRATE)
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
def calibrated(net: str, calibrate: str = AMCT_CALIBRATE) -> Graph:
    return run_pipeline(net, TARGET.pipelines["amct"].replace(AMCT_CALIBRATE, calibrate))


def run_pipeline(net: str, text: str) -> Graph:
    graph = read_model(DATA / net / "float.onnx")
    context = Context(rules=TARGET.rules, data=open_data(DATA / net / "calib.npz", graph))
    PassManager(text).run(graph, context)
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


def assert_chosen_as_the_reference(graph: Graph, net: str) -> None:
    found, expected = records(graph), reference(net)
    assert list(found) == list(expected)
    for name, golden in expected.items():
        assert found[name].scale_d == pytest.approx(golden.scale_d, rel=1e-6), name
        assert found[name].offset_d == golden.offset_d, name
        (read,) = [n.inputs[0] for n in quantized_layers(graph) if n.name == name]
        assert read is not None
        assert read.producer is not None
        source = read.producer.inputs[0]
        assert source is not None
        if source.producer is None:  # an input of the graph: nothing was computed that could differ
            assert found[name].scale_d == golden.scale_d, name


@pytest.mark.parametrize("net", NETS)
def test_exact_calibration_chooses_what_the_reference_chose(net: str) -> None:
    assert_chosen_as_the_reference(calibrated(net, "calibrate{weights=quantized exact=true}"), net)


@pytest.mark.parametrize("mode", ["", " exact=true batch-size=2"])
def test_hfmg_chooses_what_the_reference_chose(mode: str) -> None:
    """Linear layers have bins and symmetry of their own; the reference was given batches of two samples."""
    linear = f"calibrate{{weights=quantized ops=Gemm,MatMul method=hfmg bins=1024{mode}}}"
    rest = f"calibrate{{weights=quantized method=hfmg{mode}}}"
    text = TARGET.pipelines["amct"].replace(AMCT_CALIBRATE, f"{linear},{rest}")
    text = text.replace("insert-quant", "insert-quant{ops=Gemm,MatMul asymmetric=false},insert-quant")
    assert_chosen_as_the_reference(run_pipeline("hfmg", text), "hfmg")


@pytest.mark.parametrize("net", NETS)
def test_pipeline_amct_is_as_accurate_as_the_reference(net: str) -> None:
    golden = np.load(DATA / net / "test.npz")
    lowered = lower(calibrated(net), "ascend")
    (found,) = Session(lowered, threads=1).run({"input": golden["input"]}).values()
    error = np.sqrt(np.mean((found - golden["float_output"]) ** 2))
    reference_error = np.sqrt(np.mean((golden["fake_quant_output"] - golden["float_output"]) ** 2))
    assert error < 1.25 * reference_error
