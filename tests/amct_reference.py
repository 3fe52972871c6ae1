"""Outputs of the reference, AMCT, in tests/data/amct (one small net a folder), and comparison with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from qir.backends.ascend import deploy
from qir.backends.ascend.record import LayerRecord
from qir.backends.ascend.record_reader import parse_record
from qir.backends.fake_quant import lower
from qir.frontends.onnx import to_model
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.runtime.session import Session

DATA = Path(__file__).parent / "data" / "amct"
NETS = ("cnn_bn", "resid", "decon", "mlp", "vol")


def reference(net: str) -> dict[str, LayerRecord]:
    """The record that the reference wrote."""
    return parse_record((DATA / net / "record.txt").read_text())


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


def _core(model: Surroundings, layers: list[str]) -> list[str]:
    """The layers and the nodes that quantization put around them."""
    added = [n for n, node in model.nodes.items() if node.op_type in ("AscendQuant", "AscendDequant")]
    balances = [f"{layer}.mul" for layer in layers if f"{layer}.mul" in model.nodes]
    return layers + added + balances


def assert_same_deploy_model(graph: Graph, net: str) -> None:
    """Around every layer the reference's ops, attributes, readers and the bytes of its constants."""
    assert [n.name for n in quantized_layers(graph)] == list(reference(net))
    assert_same_deploy_file(to_model(deploy.lower(graph)), net)


def assert_same_deploy_file(model: onnx.ModelProto, net: str) -> None:
    """The same for a deploy model as it was written."""
    layers = list(reference(net))
    mine = Surroundings(model)
    golden = Surroundings(onnx.load(DATA / net / "amct_deploy_model.onnx"))
    assert sorted(_core(mine, layers)) == sorted(_core(golden, layers))
    for name in _core(golden, layers):
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


def assert_same_fake_quant_output(graph: Graph, net: str) -> None:
    """The reference's output on its test input within float rounding; the float output is further away."""
    golden = np.load(DATA / net / "test.npz")
    (found,) = Session(lower(graph, "ascend"), threads=1).run({"input": golden["input"]}).values()
    expected = golden["fake_quant_output"]
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)
    assert np.abs(golden["float_output"] - expected).max() > 1e-3 * np.ptp(expected)
