"""Deploy graphs and feeds that make no sense: each is refused with the layer and the field."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from deploy_graphs import OneLayer, random_bias, random_params, random_weight

from qir.ir.constant import Constant
from qir.ir.errors import ConfigError, ModelError, QirError
from qir.ir.graph import Graph
from qir.ir.node import Attribute
from qir.runtime.deploy import DeploySession, fake_quant_values
from qir.runtime.deploy.params import pack_params, unpack_params
from qir.runtime.deploy.self_test import check_arithmetic
from qir.runtime.session import Session

Change = Callable[[Graph], object]


def layer() -> OneLayer:
    return OneLayer("Conv", (2, 3, 8, 8), random_weight(4, 3, 3, 3), random_bias(4), params=random_params(4))


def attribute(node: str, key: str, item: Attribute | None) -> Change:
    def change(graph: Graph) -> None:
        attributes = graph.node(node).attributes
        if item is None:
            del attributes[key]
        else:
            attributes[key] = item

    return change


def operand(node: str, index: int, data: np.ndarray | None) -> Change:
    def change(graph: Graph) -> None:
        value = None if data is None else graph.constant(data, "changed")
        graph.node(node).set_input(index, value)

    return change


QUANT, DEQUANT = "layer.quant", "layer.dequant"
BAD_GRAPHS: dict[str, tuple[Change, str]] = {
    "no scale": (attribute(QUANT, "scale", None), r"AscendQuant 'layer.quant' has no attribute 'scale'"),
    "scale is INT": (attribute(QUANT, "scale", 20), r"'scale' of AscendQuant 'layer.quant' is of type INT"),
    "scale is NaN": (attribute(QUANT, "scale", float("nan")), r"'scale' of .*'layer.quant' is nan"),
    "scale is 0": (attribute(QUANT, "scale", 0.0), r"'scale' of AscendQuant 'layer.quant' is 0.0.*above 0"),
    "no offset": (attribute(QUANT, "offset", None), r"'layer.quant' has no attribute 'offset'"),
    "offset is INT": (attribute(QUANT, "offset", 3), r"'offset' of .*'layer.quant' is of type INT"),
    "offset is broken": (
        attribute(QUANT, "offset", 1.5),
        r"'offset' of .*'layer.quant' is 1.5; .* -128 to 127",
    ),
    "offset is large": (attribute(QUANT, "offset", 200.0), r"'offset' of .*'layer.quant' is 200.0"),
    "dst_type is INT": (attribute(QUANT, "dst_type", 8), r"'dst_type' of .*'layer.quant' is of type INT"),
    "dst_type is unknown": (
        attribute(QUANT, "dst_type", "INT9"),
        r"'INT9'; did you mean .*known values: INT8",
    ),
    "round_mode is unknown": (attribute(QUANT, "round_mode", "round"), r"'round'; did you mean 'Round'"),
    "truncation": (
        attribute(QUANT, "round_mode", "Trunc"),
        r"'layer.quant' has round_mode 'Trunc' and offset",
    ),
    "sqrt_mode is unknown": (attribute(QUANT, "sqrt_mode", 2), r"'sqrt_mode' of .*is 2; known values: 0, 1"),
    "unknown attribute": (
        attribute(QUANT, "ofset", 1.0),
        r"unknown attribute 'ofset'; did you mean 'offset'",
    ),
    "dtype is unknown": (attribute(DEQUANT, "dtype", 7), r"'dtype' of AscendDequant 'layer.dequant' is 7"),
    "dtype is FLOAT": (attribute(DEQUANT, "dtype", 0.0), r"'dtype' of .*'layer.dequant' is of type FLOAT"),
    "relu_flag is unknown": (attribute(DEQUANT, "relu_flag", -1), r"'relu_flag' of .*'layer.dequant' is -1"),
    "no parameters": (
        operand(DEQUANT, 1, None),
        r"AscendDequant 'layer.dequant' has no deq_scale \(input 1\)",
    ),
    "float parameters": (operand(DEQUANT, 1, np.ones(4, np.float32)), r"deq_scale .*'layer.dequant' is f32"),
    "parameters of another shape": (
        operand(DEQUANT, 1, random_params(4).reshape(2, 2)),
        r"deq_scale .*'layer.dequant' has shape \[2, 2\]",
    ),
    "too few parameters": (
        operand(DEQUANT, 1, random_params(3)),
        r"deq_scale of AscendDequant 'layer.dequant' has 3 entries; layer Conv 'layer' needs 1 or 4",
    ),
    "scale 0 among the parameters": (
        operand(DEQUANT, 1, pack_params(np.array([1, 1, 0, 1], np.float32))),
        r"AscendDequant 'layer.dequant': the scale of channel 2 is 0.0",
    ),
    "float weight": (
        operand("layer", 1, np.ones((4, 3, 3, 3), np.float32)),
        r"the weight 'changed' \(input 1\) of Conv 'layer' is f32; it must be i8",
    ),
    "weight of other channels": (
        operand("layer", 1, random_weight(4, 5, 3, 3)),
        r"the weight of layer Conv 'layer' has shape \[4, 5, 3, 3\] for 5 input channels, but .* reads 3",
    ),
    "int64 bias": (operand("layer", 2, np.zeros(4, np.int64)), r"the bias .* of Conv 'layer' is i64"),
    "short bias": (operand("layer", 2, np.zeros(3, np.int32)), r"bias of layer Conv 'layer' has shape \[3\]"),
    "bias that overflows": (
        operand("layer", 2, np.array([0, 0, 2**31 - 1, 0], np.int32)),
        r"layer Conv 'layer': the bias of channel 2 is \d+ with the correction .* overflows int32",
    ),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_bad_graphs_are_refused_with_layer_and_field(name: str) -> None:
    change, message = BAD_GRAPHS[name]
    graph = layer().graph()
    DeploySession(graph)
    change(graph)
    with pytest.raises(ModelError, match=message):
        DeploySession(graph)


def test_a_bias_overflows_only_with_its_correction() -> None:
    graph = layer().graph()
    graph.node("layer").set_input(1, graph.constant(np.full((4, 3, 3, 3), 127, np.int8), "weight"))
    graph.node("layer").set_input(2, graph.constant(np.array([2**31 - 1, 0, 0, 0], np.int32), "bias"))
    graph.node("layer.quant").attributes["offset"] = 5.0
    DeploySession(graph)
    graph.node("layer.quant").attributes["offset"] = -5.0
    with pytest.raises(ModelError, match="bias of channel 0"):
        DeploySession(graph)


def rewired(change: Change) -> Graph:
    graph = layer().graph()
    change(graph)
    return graph


def leak_integers(graph: Graph) -> None:
    relu = graph.add("Relu", [graph.node("layer.quant").output], name="leak")
    graph.add_output(relu.output)


def leak_sums(graph: Graph) -> None:
    graph.add_output(graph.add("Relu", [graph.node("layer").output], name="leak").output)


def float_input(graph: Graph) -> None:
    graph.node("layer").set_input(0, graph.inputs[0])
    graph.erase(graph.node("layer.quant"))


def float_source(graph: Graph) -> None:
    graph.node("layer.dequant").set_input(0, graph.inputs[0])


def anti_quant_of_float(graph: Graph) -> None:
    given: dict[str, Attribute] = {"scale": 1.0, "offset": 0.0}
    graph.add_output(graph.add("AscendAntiQuant", [graph.inputs[0]], name="anti", attributes=given).output)


def anti_quant_of_another_offset(graph: Graph) -> None:
    given: dict[str, Attribute] = {"scale": 1.0, "offset": 4.0}
    source = graph.node("layer.quant").output
    graph.add_output(graph.add("AscendAntiQuant", [source], name="anti", attributes=given).output)


BAD_WIRING: dict[str, tuple[Change, str]] = {
    "integers read as numbers": (
        leak_integers,
        r"input 0 of Relu 'leak' reads the integers of .*'layer.quant'",
    ),
    "sums read as numbers": (
        leak_sums,
        r"int32 result of layer Conv 'layer' is dequantized, but Relu 'leak'",
    ),
    "float layer": (float_input, r"layer Conv 'layer' is dequantized .* input 0 comes from no AscendQuant"),
    "dequantized floats": (
        float_source,
        r"AscendDequant 'layer.dequant' reads 'x', which is no integer layer",
    ),
    "restored floats": (anti_quant_of_float, r"AscendAntiQuant 'anti' reads 'x', which comes from no"),
    "restored otherwise": (
        anti_quant_of_another_offset,
        r"'anti' has offset 4 .* 'layer.quant' before it has -3",
    ),
}


@pytest.mark.parametrize("name", BAD_WIRING)
def test_integers_go_where_they_belong(name: str) -> None:
    change, message = BAD_WIRING[name]
    with pytest.raises(ModelError, match=message):
        DeploySession(rewired(change))


def test_other_layers_are_checked_too() -> None:
    gemm = OneLayer("Gemm", (3, 40), random_weight(40, 5), attributes={"alpha": 0.5})
    with pytest.raises(ModelError, match=r"'alpha' of layer Gemm 'layer' is 0.5"):
        DeploySession(gemm.graph())
    pool = OneLayer(
        "AveragePool",
        (1, 2, 4, 4),
        attributes={"kernel_shape": (2, 2)},
        params=pack_params(np.ones(1, np.float32), shift=2),
    )
    with pytest.raises(ModelError, match=r"'layer.dequant' has a shift"):
        DeploySession(pool.graph())


def test_parameters_are_packed_and_unpacked() -> None:
    scale = np.array([1e-3, 2.5e-7], np.float32)
    assert np.array_equal(pack_params(scale), scale.view(np.uint32))
    packed = pack_params(scale, shift=[0, 14], weight_offset=[-1, 100])
    assert packed[1] == 100 << 40 | 14 << 32 | int(scale.view(np.uint32)[1])
    found = unpack_params(packed, "l")
    assert np.array_equal(found.scale, scale)
    assert found.shift.tolist() == [0, 14]
    assert found.weight_offset.tolist() == [-1, 100]
    with pytest.raises(ModelError, match=r"'l': bits 63:48 are set"):
        unpack_params(packed | np.uint64(1 << 60), "l")
    with pytest.raises(ModelError, match=r"'l': shift N .* is 40"):
        unpack_params(pack_params(scale, shift=40), "l")


# Feeds and names.

BAD_FEEDS = {
    "shape": (
        {"x": np.zeros((2, 5, 8, 8), np.float32)},
        r"input 'x' have shape \[2, 5, 8, 8\].*\[N, 3, 8, 8\]",
    ),
    "rank": ({"x": np.zeros((3, 8, 8), np.float32)}, r"input 'x' have shape \[3, 8, 8\]"),
    "type": ({"x": np.zeros((2, 3, 8, 8))}, r"input 'x' are double; the model wants tensor\(float\)"),
    "missing": ({}, r"no data for the model's input 'x'"),
    "unknown": ({"X": np.zeros((2, 3, 8, 8), np.float32)}, r"the model has no input 'X'"),
}


@pytest.mark.parametrize("name", BAD_FEEDS)
def test_bad_feeds(name: str) -> None:
    feeds, message = BAD_FEEDS[name]
    with pytest.raises(ConfigError, match=message):
        DeploySession(layer().graph()).run(None, feeds)


def test_unknown_names() -> None:
    session = DeploySession(layer().graph())
    with pytest.raises(ConfigError, match=r"no output 'layer.dequan'; did you mean 'layer.dequant'"):
        session.run(["layer.dequan"], layer().feeds())
    with pytest.raises(ConfigError, match="no integer layer 'lager'; did you mean 'layer'"):
        session.run_integers(layer().feeds(), ["lager"])
    with pytest.raises(ModelError, match="fake-quant graph has no node 'layer'"):
        fake_quant_values(Graph("empty"), session.layers)


# What int32 and this processor can hold.


@pytest.mark.parametrize("op", ["MatMul", "Conv"])
@pytest.mark.parametrize("sign", [1, -1])
def test_overflow_of_int32_is_named(op: str, sign: int) -> None:
    weight = np.full((700, 2) if op == "MatMul" else (2, 700, 1, 1), 127 * sign, np.int8)
    shape = (1, 700) if op == "MatMul" else (1, 700, 2, 2)
    given: dict[str, Attribute] = {"dst_type": "INT16", "scale": 1.0, "offset": 0.0}
    session = DeploySession(OneLayer(op, shape, weight, quant=given).graph())
    fits = (2**31 - 1) // (700 * 127)
    assert session.layers[0].bound >= 2**31
    sums = session.run_integers({"x": np.full(shape, fits, np.float32)})[1]["layer"].accumulator
    assert np.all(sums == sign * fits * 700 * 127)
    reached = r"-2\d+" if sign < 0 else r"2\d+"
    with pytest.raises(QirError, match=rf"layer 'layer' \({op}\) overflows int32: .* reaches {reached}"):
        session.run(None, {"x": np.full(shape, fits + 2, np.float32)})


def test_inexact_arithmetic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Session.run

    def rounded(self: Session, *arguments: object) -> dict[str, np.ndarray]:
        found = exact(self, *arguments)
        return {name: a.view(np.int32).__and__(-65536).view(np.float32) for name, a in found.items()}

    check_arithmetic.cache_clear()
    check_arithmetic()
    check_arithmetic.cache_clear()
    monkeypatch.setattr(Session, "run", rounded)
    with pytest.raises(QirError, match="does not sum float32 exactly on this processor"):
        DeploySession(layer().graph())
    check_arithmetic.cache_clear()


def test_constant_nodes_hold_parameters_as_well() -> None:
    graph = layer().graph()
    expected = DeploySession(graph).run(None, layer().feeds())[0]
    old = graph.node("layer").inputs[1]
    assert old is not None
    assert old.constant is not None
    held = graph.add("Constant", [], name="w", attributes={"value": Constant.of(old.constant.array)})
    graph.move(held, graph.nodes[0])
    graph.node("layer").set_input(1, held.output)
    assert np.array_equal(DeploySession(graph).run(None, layer().feeds())[0], expected)
