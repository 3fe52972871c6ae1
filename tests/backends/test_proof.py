"""The proof that runs before files are published: what it compares, what it excuses, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import Net, many_layers, samples

from qir.backends.ascend import deploy
from qir.backends.fake_quant import lower
from qir.backends.inspection import write_inspected_files
from qir.backends.layer_values import dequant_operands, kind_of, layer_values
from qir.backends.proof import prove
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.types import TensorType

FEEDS = [samples(2, seed=seed) for seed in range(3)]


def both(opset: int = 13) -> tuple[Graph, Graph]:
    graph = many_layers(opset).quantized()
    return lower(graph), deploy.lower(graph)


def replaced(graph: Graph, node: str, index: int, data: np.ndarray) -> None:
    graph.node(node).set_input(index, graph.constant(data, f"{node}.planted"))


def held(graph: Graph, node: str, index: int) -> np.ndarray:
    value = graph.node(node).inputs[index]
    assert value is not None
    assert value.constant is not None
    return value.constant.array.copy()


@pytest.mark.parametrize("opset", [9, 13])
def test_every_integer_is_compared(opset: int) -> None:
    proof = prove(*both(opset), FEEDS)
    assert [layer.name for layer in proof.layers] == ["stem", "left", "right", "up", "pool", "fc", "mm"]
    assert (proof.samples, proof.different, proof.max_abs, proof.unprovable) == (3, 0, 0.0, ())
    batch = 3 * 2
    read = {layer.name: layer.read for layer in proof.layers}
    assert read == {
        "stem": batch * 256, "left": batch * 256, "right": batch * 256, "up": batch * 384,
        "pool": batch * 1024, "fc": batch * 64, "mm": batch * 10,
    }  # fmt: skip
    assert {layer.name: layer.compared - layer.read for layer in proof.layers}["up"] == batch * 1024


@pytest.mark.parametrize("node", ["stem", "right", "up", "fc"])
def test_a_changed_weight_is_named(node: str) -> None:
    fake, deployed = both()
    weight = held(deployed, node, 1)
    weight.reshape(-1)[7 % weight.size] += 1 if weight.reshape(-1)[7 % weight.size] < 127 else -1
    replaced(deployed, node, 1, weight)
    with pytest.raises(
        BackendError, match=rf"layer '{node}' \(\w+\) of the deploy graph adds up other integers"
    ):
        prove(fake, deployed, FEEDS)


def test_a_changed_scale_is_named_where_integers_are_read() -> None:
    fake, deployed = both()
    attributes = deployed.node("fc.quant").attributes
    assert isinstance(attributes["scale"], float)
    attributes["scale"] *= 1.05
    with pytest.raises(BackendError, match=r"layer 'fc' .* reads other integers .* its AscendQuant"):
        prove(fake, deployed, FEEDS)


def test_a_changed_dequantization_of_the_last_layer_is_an_output() -> None:
    fake, deployed = both()
    replaced(deployed, "mm.dequant", 1, held(deployed, "mm.dequant", 1) + np.uint64(1))
    with pytest.raises(BackendError, match="output 'bias_out' of the deploy graph differs"):
        prove(fake, deployed, FEEDS)


def test_a_layer_of_one_graph_only() -> None:
    with pytest.raises(BackendError, match="layer 'up' is quantized in the deploy graph only"):
        prove(lower(many_layers().quantized(skip=("up",))), deploy.lower(many_layers().quantized()), FEEDS)


def wide(rows: int) -> tuple[Graph, Graph]:
    """A Gemm of weights 127 whose sums reach `rows` * 127 * 133, then one that reads it."""
    net = Net()
    hidden = net.add("Gemm", "wide", [net.input("N", rows), net.weight("w", rows, 2)], ("N", 2))
    net.graph.add_output(net.add("Gemm", "last", [hidden, net.weight("v", 2, 2)], ("N", 2)))
    graph = net.quantized()
    found = lower(graph), deploy.lower(graph)
    replaced(found[0], "wide", 1, np.full((rows, 2), 127, np.float32))
    replaced(found[1], "wide", 1, np.full((rows, 2), 127, np.int8))
    return found


def test_shapes_of_weights_are_those_of_the_fake_quant_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, deployed = both()
    for node in deployed.nodes:
        for value in node.outputs:
            if value is not None:
                value.type = TensorType(value.tensor.dtype)

    def inferred(*_: object) -> None:
        raise AssertionError("shapes are looked for in the deploy graph")

    monkeypatch.setattr("qir.runtime.deploy.packed._skeleton", inferred)
    assert prove(fake, deployed, FEEDS[:1]).samples == 1


@pytest.mark.parametrize(("rows", "unprovable"), [(990, []), (1000, ["wide"])])
def test_layers_beyond_float32_are_listed(rows: int, unprovable: list[str]) -> None:
    """Zero point 5: |q - 5| <= 133, and 2^24 / (127 * 133) = 993.3."""
    proof = prove(*wide(rows), [{"x": np.full((1, rows), -9, np.float32)}])
    assert [layer.name for layer in proof.unprovable] == unprovable
    assert proof.layers[0].bound == rows * 127 * 133


ALL_LOW = {"x": np.full((1, 2001), -9, np.float32)}
"""Makes the sums of `wide(2001)` 2001 * 127 * -133, an odd number beyond 2^25: float32 rounds it."""


def with_biases(fake: Graph, deployed: Graph, in_fake: int, in_deploy: int) -> None:
    fake.node("wide").set_input(2, fake.constant(np.float32([in_fake, in_fake]), "bias"))
    deployed.node("wide").set_input(2, deployed.constant(np.int32([in_deploy, in_deploy]), "bias"))


def test_an_unprovable_layer_may_differ_by_rounding_but_not_by_more() -> None:
    fake, deployed = wide(2001)
    layer = prove(fake, deployed, [ALL_LOW]).layers[0]
    assert (layer.name, layer.different) == ("wide", 2)
    assert 1 <= layer.max_difference <= 8
    with_biases(fake, deployed, 100, 0)
    with pytest.raises(BackendError, match=r"layer 'wide' \(Gemm\) .* adds up other integers"):
        prove(fake, deployed, [ALL_LOW])


def test_a_layer_that_float32_adds_up_exactly_may_not_differ_at_all() -> None:
    fake, deployed = wide(100)
    with_biases(fake, deployed, 1, 2)
    with pytest.raises(
        BackendError, match=r"layer 'wide' \(Gemm\) .* adds up other integers .*: 2 of 2 differ"
    ):
        prove(fake, deployed, [{"x": np.full((1, 100), -9, np.float32)}])


def test_a_fault_behind_an_unprovable_layer_is_found() -> None:
    fake, deployed = wide(2001)
    assert prove(fake, deployed, [ALL_LOW]).moved == ()
    weight = held(deployed, "last", 1)
    weight[0, 1] ^= 1
    replaced(deployed, "last", 1, weight)
    with pytest.raises(BackendError, match=r"layer 'last' \(Gemm\) .* adds up other integers"):
        prove(fake, deployed, [ALL_LOW])


def test_a_fault_within_rounding_is_found_by_its_parameter() -> None:
    fake, deployed = wide(2001)
    with_biases(fake, deployed, 1, 2)
    with pytest.raises(BackendError, match=r"'wide': the bias differs .* first at \[0\]: 2, not 1"):
        prove(fake, deployed, [ALL_LOW])


def test_a_weight_that_meets_only_zeros_is_compared_too() -> None:
    fake, deployed = both()
    weight = held(deployed, "fc", 1)
    weight[3, 4] ^= 1
    replaced(deployed, "fc", 1, weight)
    zeros = {"x": np.zeros((1, 4, 8, 8), np.float32)}
    for graph in (fake, deployed):  # nothing but zeros reaches the layer
        node = graph.node("flat")
        zero = graph.constant(np.zeros(1, np.float32), "nothing")
        source = node.inputs[0]
        node.set_input(0, graph.add("Mul", [source, zero], before=node).output)
    with pytest.raises(BackendError, match=r"'fc': the weight differs .* in 1 of 640 numbers, .* \[3, 4\]"):
        prove(fake, deployed, [zeros])


def test_what_an_unprovable_layer_moves_is_counted() -> None:
    """4 added to the sums stands for the rounding of sums that are large on the way to a small result."""
    fake, deployed = wide(2001)
    dequantize = fake.node("wide.fakedequant.mul")
    sums, _ = dequant_operands(dequantize)
    off = fake.add("Add", [sums, fake.constant(np.float32(4), "rounding")], before=dequantize).output
    dequantize.set_input(dequantize.inputs.index(sums), off)
    finest = np.float32(1) / held(deployed, "wide.dequant", 1).astype(np.uint32).view(np.float32)
    fake.node("last.quant.fakequant.mul").set_input(1, fake.constant(finest, "finest"))
    deployed.node("last.quant").attributes["scale"] = float(finest[0])
    proof = prove(fake, deployed, [{"x": np.zeros((1, 2001), np.float32)}])
    assert [layer.name for layer in proof.moved] == ["last"]
    assert proof.layers[1].different > 0


@pytest.mark.parametrize("form", ["ascend", "qdq"])
def test_files_are_proven_before_they_are_published(form: str, tmp_path: Path) -> None:
    graph = many_layers().quantized()
    done = write_inspected_files(graph, tmp_path / "net", form, FEEDS[:2])
    assert done.proof is not None
    assert done.proof.samples == 2
    assert done.paths.deploy_model.exists()
    assert [f.rule for f in done.findings] == ["dynamic-shape"]
    assert write_inspected_files(graph, tmp_path / "other", form, ()).proof is None


def test_a_failed_proof_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that packs another scale than it should."""
    honest = deploy.pack_params
    monkeypatch.setattr(deploy, "pack_params", lambda scale: honest(scale * np.float32(1.5)))
    with pytest.raises(BackendError, match=r"layer 'left' .* reads other integers"):
        write_inspected_files(many_layers().quantized(), tmp_path / "new" / "net", "ascend", FEEDS)
    assert not (tmp_path / "new").exists()


def test_where_the_numbers_of_a_layer_are() -> None:
    graph = many_layers()
    source = layer_values(graph.graph)
    assert source["stem"].result == source["stem"].float_name == "stem_out"
    assert "flat" not in source
    closed = graph.quantized()
    kinds = [many_layers().graph, lower(closed), lower(closed, "qdq"), deploy.lower(closed)]
    assert [kind_of(item) for item in kinds] == ["float", "fake-quant", "qdq", "deploy"]
    for item in kinds[1:]:
        values = layer_values(item)
        assert {n for n, v in values.items() if v.is_quantized} == {
            "stem", "left", "right", "up", "pool", "fc", "mm",
        }  # fmt: skip
        assert {n for n, v in values.items() if not v.is_quantized} == {"both"}
        assert values["stem"].float_name == "stem_out"
        assert values["mm"].float_name == "bias_out"
