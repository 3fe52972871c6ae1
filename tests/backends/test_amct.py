"""Comparison with the outputs of the reference, AMCT, in tests/data/amct (one small net a folder).

First with its activation scales put into the graph: then every integer must be the same. Then the whole
pipeline `amct` from float model and calibration data.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qir.backends.ascend import deploy
from qir.backends.ascend.record import LayerRecord, print_record, records
from qir.backends.ascend.record_reader import parse_record
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

DATA = Path(__file__).parents[1] / "data" / "amct"
NETS = ("cnn_bn", "resid", "decon", "mlp", "vol")
WITH_VARIANT = (*NETS, "default_sym")
TARGET = target_named("ascend")


def reference(net: str) -> dict[str, LayerRecord]:
    return parse_record((DATA / net / "record.txt").read_text())


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


class Surroundings:
    """What is compared: layers by name, operands by position, neighbours with their attributes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = {n.name: n for n in model.graph.node if n.op_type != "Constant"}
        self.initializers = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.producers = {o: n for n in model.graph.node for o in n.output}
        self.outputs = {o.name for o in model.graph.output}

    def attributes(self, name: str) -> dict[str, tuple[int, object]]:
        return {a.name: (a.type, helper.get_attribute_value(a)) for a in self.nodes[name].attribute}

    def constants(self, name: str) -> dict[int, np.ndarray]:
        inputs = enumerate(self.nodes[name].input)
        return {i: self.initializers[x] for i, x in inputs if x in self.initializers}

    def readers(self, name: str) -> list[tuple[str, str, int]]:
        """(name, op, input) of everything that reads a node's result, and whether it is returned."""
        (output,) = self.nodes[name].output
        found = [
            (n.name, n.op_type, i) for n in self.nodes.values() for i, x in enumerate(n.input) if x == output
        ]
        return sorted(found) + ([("return", output, 0)] if output in self.outputs else [])


def core(model: Surroundings, layers: list[str]) -> list[str]:
    """The layers and the nodes that quantization put around them."""
    added = [n for n, node in model.nodes.items() if node.op_type in ("AscendQuant", "AscendDequant")]
    return layers + added


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_deploy_model_is_the_reference_bit_for_bit(net: str) -> None:
    graph = with_reference_scales(net)
    layers = [n.name for n in quantized_layers(graph)]
    mine = Surroundings(to_model(deploy.lower(graph)))
    golden = Surroundings(onnx.load(DATA / net / "amct_deploy_model.onnx"))
    assert layers == list(reference(net))
    assert sorted(core(mine, layers)) == sorted(core(golden, layers))
    for name in core(golden, layers):
        assert mine.nodes[name].op_type == golden.nodes[name].op_type
        assert mine.nodes[name].domain == golden.nodes[name].domain
        assert mine.attributes(name) == golden.attributes(name), name
        expected = golden.constants(name)
        found = mine.constants(name)
        assert list(found) == list(expected), name
        for i, array in expected.items():
            assert (found[i].dtype, found[i].shape) == (array.dtype, array.shape), (name, i)
            assert np.array_equal(found[i], array), (name, i)
        # Nodes that were not quantized have the names of the reference's exporter: compare ops and inputs.
        assert [r[1:] for r in mine.readers(name)] == [r[1:] for r in golden.readers(name)], name


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_record_is_the_reference_byte_for_byte(net: str) -> None:
    found = print_record(records(with_reference_scales(net)))
    assert found == (DATA / net / "record.txt").read_text()


@pytest.mark.parametrize("net", WITH_VARIANT)
def test_fake_quant_model_computes_what_the_reference_computed(net: str) -> None:
    golden = np.load(DATA / net / "test.npz")
    lowered = lower(with_reference_scales(net), "ascend")
    (found,) = Session(lowered, threads=1).run({"input": golden["input"]}).values()
    expected = golden["fake_quant_output"]
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)
    # The float output is further away, so the bound means something.
    assert np.abs(golden["float_output"] - expected).max() > 1e-3 * np.ptp(expected)


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
