"""Precisions of operands on target `qdq`: what insert-quant asks for, closed, written, and run."""

from __future__ import annotations

import logging

import numpy as np
import onnxruntime
import pytest
from nets import Net, many_layers, run, samples

from qir.backends.fake_quant import forms, lower
from qir.backends.qdq.rules import RULES
from qir.backends.targets import target_named
from qir.frontends.onnx import to_model
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError
from qir.ir.graph import Graph
from qir.ir.quants import operand_precision, quantized_layers
from qir.ir.types import tensor
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.report import report_layers
from qir.runtime.data import open_data
from qir.runtime.session import Session
from qir.runtime.twins import without_quants

CLOSE = "quantize-weights,calibrate{method=min-max},quantize-bias"
LAYERS = ("int8", "int16", "int16-ec", "dual-int16", "float16")


def quantized(graph: Graph, *inserts: InsertQuant) -> Graph:
    context = Context(rules=RULES, data=open_data(samples(4), graph))
    PassManager(inserts).run(graph, context)
    PassManager(CLOSE).run(graph, context)
    verify(graph)
    return graph


def error(graph: Graph) -> float:
    """The largest, in parts of the range of the float result."""
    expected = run(many_layers().graph, samples())
    return float(np.abs(run(graph, samples()) - expected).max() / np.ptp(expected))


def test_each_precision_is_as_near_as_its_bits_say() -> None:
    errors = {
        name: error(lower(quantized(many_layers().graph, InsertQuant(precision=name)), "qdq"))
        for name in LAYERS
    }
    assert errors["int16"] < errors["int8"]
    for name, least in (("int16-ec", 20), ("dual-int16", 20), ("float16", 5)):
        assert errors[name] < errors["int16"] / least, name


@pytest.mark.parametrize("name", LAYERS)
def test_the_written_graph_computes_what_the_quants_mean(name: str) -> None:
    graph = quantized(many_layers().graph, InsertQuant(precision=name))
    expected = run(without_quants(graph, rounded=True), samples())
    found = run(lower(graph, "qdq"), samples())
    # Both round alike, but for values on the border between two steps.
    assert np.median(np.abs(found - expected)) < 1e-5 * np.ptp(expected)


def test_precisions_of_the_layers() -> None:
    graph = quantized(
        many_layers().graph,
        InsertQuant(precision="int16-ec", layers=("stem", "up")),
        InsertQuant(precision="float16", layers=("left",)),
        InsertQuant(precision="dual-int16", layers=("fc",)),
        InsertQuant(operands=("0:ec", "1:float32"), layers=("mm",)),
        InsertQuant(),
    )
    assert {layer.name: layer.precision for layer in report_layers(graph, {})} == {
        "stem": "int16 x ec", "left": "float16", "right": "int8", "up": "int16 x ec", "pool": "int8",
        "fc": "int16 x int16", "mm": "ec x float32",
    }  # fmt: skip
    assert len(quantized_layers(graph)) == 7
    assert error(lower(graph, "qdq")) < 0.1


def test_error_compensation_is_two_int8_tensors_that_are_added() -> None:
    graph = quantized(many_layers().graph, InsertQuant(precision="int16-ec"))
    lowered = lower(graph, "qdq")
    added = lowered.node("stem").inputs[1].producer
    assert added.op == "Add"
    parts = [value.producer for value in added.inputs]
    assert [part.op for part in parts] == ["DequantizeLinear"] * 2
    first, second = (part.inputs[0].constant.array for part in parts)
    assert first.dtype == second.dtype == np.int8
    assert np.abs(second.astype(int)).max() >= 127
    scales = [part.inputs[1].constant.array for part in parts]
    assert np.all(scales[1] <= scales[0] / 253)


def test_activations_with_error_compensation() -> None:
    graph = quantized(many_layers().graph, InsertQuant(operands=("0:ec", "1:ec")))
    assert operand_precision(graph.node("stem"), 0).name == "ec"
    lowered = lower(graph, "qdq")
    names = [node.name for node in lowered.nodes if node.op == "QuantizeLinear"]
    rests = [name for name in names if name.endswith(".rest.quantize")]
    assert len(names) == 2 * len(rests) >= 10
    assert error(lowered) < error(lower(quantized(many_layers().graph, InsertQuant()), "qdq")) / 20


def test_biases_of_wide_products_do_not_overflow_in_onnx_runtime() -> None:
    """It makes an int32 with the scale of the products of a float bias, before any option is looked at."""
    graph = many_layers().graph
    bias = graph.node("stem").inputs[2].constant.array
    graph.node("stem").set_input(2, graph.constant(bias + np.float32(1000), "large"))
    exact = run(graph, samples())
    lowered = lower(quantized(graph, InsertQuant(precision="dual-int16")), "qdq")
    model = to_model(lowered).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, samples())
    assert np.abs(found - exact).max() < 1e-2 * np.ptp(exact)


def test_16_bits_below_opset_21_are_written_in_plain_ops(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph = quantized(many_layers().graph, InsertQuant(precision="dual-int16"))
    expected = run(lower(graph, "qdq"), samples())
    convert = forms.raise_opset

    def cannot(given: Graph, version: int, feeds: object = None) -> Graph:
        if version > 20:
            raise BackendError("the model's opset 17 cannot be raised to 21: no adapter")
        return convert(given, version, feeds)

    monkeypatch.setattr(forms, "raise_opset", cannot)
    with caplog.at_level(logging.WARNING):
        plain = lower(graph, "qdq")
    assert plain.opsets[""] < 21
    assert not any(node.op == "QuantizeLinear" for node in plain.nodes)
    assert "16-bit integers are written in plain ops, without QuantizeLinear" in caplog.text
    assert np.abs(run(plain, samples()) - expected).max() < 1e-5 * np.ptp(expected)


def test_target_ascend_has_no_error_compensation() -> None:
    graph = quantized(many_layers().graph, InsertQuant(precision="int16-ec"))
    with pytest.raises(BackendError, match="input 1 of layer 'stem' is stored with error compensation"):
        lower(graph, "ascend")
    graph = quantized(many_layers().graph, InsertQuant(operands=("0:ec",)))
    with pytest.raises(BackendError, match="input 0 of layer 'stem' is stored with error compensation"):
        lower(graph, "ascend")
    graph = quantized(many_layers().graph, InsertQuant(operands=("0:float16",)))
    with pytest.raises(BackendError, match=r"layer 'stem' .* has operands in float16 and others"):
        lower(graph, "ascend")


def test_target_ascend_computes_whole_layers_in_float16() -> None:
    ascend = target_named("ascend")
    graph = many_layers().graph
    context = Context(rules=ascend.rules, data=open_data(samples(4), graph))
    PassManager([InsertQuant(precision="float16", layers=("left", "fc")), InsertQuant()]).run(graph, context)
    PassManager(CLOSE).run(graph, context)
    lowered = lower(graph, "ascend")
    assert lowered.node("left").inputs[1].constant.array.dtype == np.float16
    assert lowered.node("fc").inputs[2].constant.array.dtype == np.float16
    assert error(lowered) < 0.1


def test_forms_of_a_target() -> None:
    qdq, ascend = target_named("qdq"), target_named("ascend")
    assert (qdq.form(None), ascend.form(None), ascend.form("qdq")) == ("qdq", "ascend", "qdq")
    with pytest.raises(
        ConfigError, match="target 'qdq' has no form 'ascend' of the fake-quant graph, only qdq"
    ):
        qdq.form("ascend")
    with pytest.raises(ConfigError, match=r"there is no form 'qdk' .* did you mean 'qdq'"):
        ascend.form("qdk")


def test_volumes_in_int16() -> None:
    """ONNX Runtime's optimizer may move the result of a Conv over volumes by a step of the next rounding."""
    net = Net()
    x = net.graph.add_input("x", tensor(DType.F32, (1, 2, 4, 6, 6)))
    first = net.add("Conv", "first", [x, net.weight("w", 4, 2, 3, 3, 3)], (1, 4, 2, 4, 4))
    second = net.add("Conv", "second", [first, net.weight("v", 3, 4, 1, 1, 1)], (1, 3, 2, 4, 4))
    net.graph.add_output(second)
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 2, 4, 6, 6)).astype(np.float32)}
    exact = net.graph.clone()
    context = Context(rules=RULES, data=open_data(feeds, net.graph))
    PassManager([InsertQuant(precision="int16-ec")]).run(net.graph, context)
    PassManager(CLOSE).run(net.graph, context)
    lowered = lower(net.graph, "qdq")
    model = to_model(lowered).SerializeToString()
    (optimized,) = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
    found = Session(lowered).run(feeds)[second.name]
    step = operand_precision(net.graph.node("second"), 0).quant.scale[0]
    weights = np.abs(net.graph.value("v").constant.array).sum(axis=1).max()
    assert np.abs(found - optimized).max() <= step * weights * 1.01
    expected = Session(exact).run(feeds)[second.name]
    assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected)
