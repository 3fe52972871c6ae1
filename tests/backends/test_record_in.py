"""Records put into float graphs: the reference's give its graphs; those that do not fit are errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from amct_reference import (
    DATA,
    NETS,
    assert_same_deploy_model,
    assert_same_fake_quant_output,
    reference,
)
from nets import Net, many_layers, samples
from onnx import numpy_helper

from qir.backends.ascend import deploy
from qir.backends.ascend.record import LayerRecord, print_record, records
from qir.backends.ascend.record_in import apply
from qir.backends.fake_quant import lower
from qir.conversion import apply_record
from qir.ir.errors import BackendError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.verify import verify
from qir.passes.context import RewriteLog
from qir.runtime.session import Session

ALL = (*NETS, "default_sym", "hfmg", "dmq", "fp16", "int4")


def converted(net: str, **changes: LayerRecord) -> Graph:
    return apply_record(DATA / net / "float.onnx", reference(net) | changes)


@pytest.mark.parametrize("net", ALL)
def test_record_of_the_reference_gives_its_graphs(net: str) -> None:
    graph = apply_record(DATA / net / "float.onnx", DATA / net / "record.txt")
    verify(graph)
    assert_same_deploy_model(graph, net)
    assert_same_fake_quant_output(graph, net)
    assert print_record(records(graph)) == (DATA / net / "record.txt").read_text()


def test_reciprocals_of_balance_factors_are_the_references() -> None:
    golden = onnx.load(DATA / "dmq" / "amct_deploy_model.onnx")
    found = {n.name: n for n in deploy.lower(converted("dmq")).nodes}
    nodes = [n for n in golden.graph.node if n.name.endswith(".tensor_balance_factor")]
    assert len(nodes) == 6
    for node in nodes:
        value = found[node.name].attributes["value"]
        expected = numpy_helper.to_array(node.attribute[0].t)
        assert value.array.shape == expected.shape
        assert value.array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("pipeline", ["amct", "default"])
def test_fusions_are_those_of_the_pipeline(pipeline: str) -> None:
    given = {k: r for k, r in reference("decon").items() if k != "gdc"}
    graph = apply_record(DATA / "decon" / "float.onnx", given, pipeline=pipeline)
    assert any(n.op == "BatchNormalization" for n in graph.nodes) == (pipeline == "amct")


def test_skip_fusion_keeps_the_batch_normalization() -> None:
    model = onnx.load(DATA / "cnn_bn" / "float.onnx")
    layer = next(n for n in model.graph.node if n.op_type == "Conv")
    bn = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
    assert bn.input[0] in layer.output
    kept = replace(reference("cnn_bn")[layer.name], skip_fusion=True)
    graph = converted("cnn_bn", **{layer.name: kept})
    (norm,) = (n for n in graph.nodes if n.op == "BatchNormalization")
    assert norm.name == bn.name
    assert records(graph)[layer.name].skip_fusion
    plain = converted("cnn_bn")
    assert not any(n.op == "BatchNormalization" for n in plain.nodes)


# A net of our own, whose record is edited.

ORIGINAL = {
    "stem": LayerRecord(0.03, 5, (0.01,) * 4),
    "left": LayerRecord(0.04, -3, (0.01,) * 6),
    "right": LayerRecord(0.05, -3, (0.01,) * 6),
    "up": LayerRecord(0.06, 0, (0.01,) * 4),
    "pool": LayerRecord(0.07, -128, (1.0,), wts_type=None),
    "fc": LayerRecord(0.08, 1, (0.01,)),
    "mm": LayerRecord(0.09, 2, (0.01,)),
}


def own(given: dict[str, LayerRecord]) -> Graph:
    for name in given:
        given[name] = replace(
            given[name], scale_d=f32(given[name].scale_d), scale_w=f32s(given[name].scale_w)
        )
    return apply_record(many_layers().graph, given)


def f32(x: float) -> float:
    return float(np.float32(x))


def f32s(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(f32(x) for x in numbers)


def test_records_go_in_and_out_unchanged() -> None:
    given = dict(ORIGINAL)
    given["stem"] = replace(given["stem"], act_type="INT16", offset_d=-30000)
    given["left"] = replace(given["left"], tensor_balance_factor=(0.5, 1.0, 2.0, 4.0), wts_type="INT4")
    given["right"] = replace(given["right"], scale_w=(0.02,))
    given["up"] = replace(given["up"], tensor_balance_factor=(0.5, 2.0, 1.0, 1.0, 1.0, 3.0))
    given["mm"] = replace(given["mm"], tensor_balance_factor=(0.5,) * 10)
    given["both:1"] = LayerRecord(f32(0.1), 7, (), wts_type=None, is_tensor_quantize=True)
    model = many_layers().graph
    before = str(model)
    graph = own(given)
    verify(graph)
    assert records(graph) == given
    assert str(many_layers().graph) == before
    deployed = [n.op for n in deploy.lower(graph).nodes]
    assert deployed.count("AscendAntiQuant") == 1
    float_output = Session(model, threads=1).run(samples(2))["bias_out"]
    output = Session(lower(graph, "ascend"), threads=1).run(samples(2))["bias_out"]
    assert output.shape == float_output.shape


def test_layers_that_are_not_in_the_record_stay_float_and_say_so() -> None:
    graph = own({"up": ORIGINAL["up"]})
    assert graph.node("fc").metadata["qir.float"] == "the record does not have it"
    assert "qir.float" not in graph.node("up").metadata
    assert list(records(graph)) == ["up"]


def one_layer(
    op: str, shape: tuple[int, ...], weight: tuple[int, ...], **attributes: int
) -> tuple[Graph, Value]:
    net = Net()
    x = net.input(*shape)
    y = net.add(op, "layer", [x, net.weight("w", *weight)], None, attributes)
    net.graph.add_output(y)
    return net.graph, x


@pytest.mark.parametrize(
    ("op", "shape", "weight", "attributes", "channels", "outputs"),
    [
        ("Conv", (2, 6, 5, 5), (4, 3, 2, 2), {"group": 2}, 6, 4),
        ("Conv", (2, 3, 9), (4, 3, 2), {}, 3, 4),
        ("ConvTranspose", (2, 6, 5, 5), (6, 2, 2, 2), {"group": 2}, 6, 4),
        ("Gemm", (2, 6), (6, 3), {}, 6, 1),
        ("MatMul", (2, 5, 6), (6, 3), {}, 6, 1),
        ("MatMul", (6,), (6, 3), {}, 6, 1),
    ],
)
def test_balance_changes_no_product(
    op: str,
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    attributes: dict[str, int],
    channels: int,
    outputs: int,
) -> None:
    """The float results of the balanced layer, its quants passed by, are those of the layer."""
    graph, x = one_layer(op, shape, weight, **attributes)
    random = np.random.default_rng(3)
    factors = f32s(tuple(np.exp(random.uniform(-1, 1, channels))))
    given = LayerRecord(f32(0.05), 0, (f32(0.02),) * outputs, tensor_balance_factor=factors)
    data = {x.name: random.standard_normal(shape).astype(np.float32)}
    quantized = graph.clone()
    apply(quantized, {"layer": given}, RewriteLog())
    verify(quantized)
    (expected,) = Session(graph, threads=1).run(data).values()
    (found,) = Session(quantized, threads=1).run(data).values()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert records(quantized) == {"layer": given}


def test_equal_numbers_share_a_quant_and_others_do_not() -> None:
    shared = own({"left": ORIGINAL["left"], "right": replace(ORIGINAL["right"], scale_d=0.04)})
    assert shared.node("left").inputs[0] is shared.node("right").inputs[0]
    apart = own({"left": ORIGINAL["left"], "right": ORIGINAL["right"]})
    assert apart.node("left").inputs[0] is not apart.node("right").inputs[0]


@pytest.mark.parametrize(("wts_type", "largest"), [("INT6", 31), ("INT7", 63)])
def test_six_and_seven_bit_weights_are_stored_in_eight(wts_type: str, largest: int) -> None:
    net = Net()
    x = net.input(1, 1, 4, 4)
    w = net.graph.constant(np.float32([1, -1]).reshape(2, 1, 1, 1), "w")
    net.graph.add_output(net.add("Conv", "c", [x, w], (1, 2, 4, 4)))

    def record(*scales: float) -> dict[str, LayerRecord]:
        return {"c": LayerRecord(1.0, 0, f32s(scales), wts_type=wts_type)}

    (conv,) = (n for n in deploy.lower(apply_record(net.graph, record(1 / largest, 1 / (largest + 1)))).nodes
               if n.op == "Conv")  # fmt: skip
    assert conv.inputs[1].constant.array.ravel().tolist() == [largest, -largest - 1]
    for scales in ((1 / (largest + 1), 1.0), (1.0, 1 / (largest + 2))):
        with pytest.raises(BackendError, match=f"scale_w of layer 'c' is too small for wts_type {wts_type}"):
            apply_record(net.graph, record(*scales))
    with pytest.raises(BackendError, match=f"wts_type {wts_type} is not supported .* 'fc': it is a Gemm"):
        own({"fc": replace(ORIGINAL["fc"], wts_type=wts_type)})


def test_biases_reach_to_the_ends_of_int32() -> None:
    record = {"c": LayerRecord(2.0**-20, 0, (2.0**-11,))}
    for numbers, fits in (([-1.0, 1 - 2.0**-24], True), ([0.0, 1.0], False), ([-1 - 2.0**-23, 0.0], False)):
        net = Net()
        x = net.input(1, 1, 4, 4)
        inputs = [x, net.weight("w", 2, 1, 1, 1), net.graph.constant(np.float32(numbers), "b")]
        net.graph.add_output(net.add("Conv", "c", inputs, (1, 2, 4, 4)))
        if fits:
            apply_record(net.graph, record)
            continue
        with pytest.raises(BackendError, match=r"quantized bias -?21474.* of layer 'c', channel"):
            apply_record(net.graph, record)


TENSOR = LayerRecord(1.0, 0, (), wts_type=None, is_tensor_quantize=True)


@pytest.mark.parametrize(
    ("layer", "changes", "message"),
    [
        ("left", {"scale_w": (1.0,) * 5}, "scale_w's length should be 1, or equal to the 6 .* 'left', not 5"),
        ("fc", {"scale_w": (1.0,) * 10}, "scale_w's length should be equal to 1.* 'fc', not 10"),
        ("pool", {"scale_w": (0.5,)}, "scale_w's value should be a single 1.0 in layer 'pool'"),
        ("pool", {"tensor_balance_factor": (1.0,)}, "tensor_balance_factor .* layer 'pool'"),
        ("left", {"tensor_balance_factor": (1.0,)}, "tensor_balance_factor .* 4 input .* 'left', not 1"),
        ("left", {"scale_d": 1e-30, "scale_w": (1e-30,)}, "scale_d times scale_w .* 'left', channel 0"),
        (
            "stem",
            {"scale_d": 1e-9, "scale_w": (1e-9,)},
            "quantized bias .* 'stem', channel 0, .* int32 range",
        ),
        ("mm", {"scale_d": 1e-9, "scale_w": (1e-9,)}, "quantized bias .* of layer 'mm'"),
        ("left", {"act_type": "INT4"}, "act_type INT4 of layer 'left' is not supported"),
        ("mm", {"act_type": "INT16"}, "current layer 'mm' does not support int16 quant"),
        ("right", {"wts_type": "INT4"}, "wts_type INT4 is not supported by layer 'right': it has 2 groups"),
    ],
)
def test_records_that_do_not_fit(layer: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        own({layer: replace(ORIGINAL[layer], **changes)})


@pytest.mark.parametrize(
    ("key", "record", "message"),
    [
        ("rihgt", ORIGINAL["right"], "cannot find layer 'rihgt' in the model.*did you mean 'right'"),
        ("both", ORIGINAL["left"], "layer both cannot be quantized: Ascend has no integer form of Add"),
        ("both", TENSOR, "the key 'both' of a tensor quantization should be 'layer:input'"),
        ("neither:0", TENSOR, "cannot find layer 'neither'"),
        ("both:2", TENSOR, "input 2 of layer 'both' cannot be quantized: Add has no data input 2"),
        ("fc:0", TENSOR, "input 0 of layer 'fc' cannot be quantized: Gemm has no such form"),
        ("both:0", replace(TENSOR, act_type="INT16"), "act_type of layer 'both:0' should be INT8"),
    ],
)
def test_keys_that_do_not_fit(key: str, record: LayerRecord, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        own({key: record})


def test_bias_add_of_a_layer_is_no_tensor() -> None:
    with pytest.raises(
        BackendError, match=r"input 0 of layer 'bias' .* it adds the bias of a quantized layer"
    ):
        own({"mm": ORIGINAL["mm"], "bias:0": TENSOR})


def test_convolutions_over_three_dimensions_are_symmetric() -> None:
    name = next(iter(reference("vol")))
    with pytest.raises(BackendError, match=f"offset_d's value should be 0 in layer '{name}', not 3"):
        converted("vol", **{name: replace(reference("vol")[name], offset_d=3)})


def test_folded_and_removed_layers_are_named() -> None:
    given = dict(reference("cnn_bn"))
    bn = next(n.name for n in onnx.load(DATA / "cnn_bn" / "float.onnx").graph.node if "Batch" in n.op_type)
    with pytest.raises(BackendError, match=f"layer {bn} cannot be quantized: it has been folded into"):
        apply_record(DATA / "cnn_bn" / "float.onnx", given | {bn: ORIGINAL["left"]})
    net = many_layers()
    net.add("MatMul", "unused", [net.graph.value("fc_out"), net.weight("u", 10, 3)], ("N", 3))
    with pytest.raises(BackendError, match="layer unused cannot be quantized: the pipeline has removed it"):
        apply_record(net.graph, {"unused": ORIGINAL["mm"]})


def test_quantized_models_are_refused() -> None:
    with pytest.raises(PassError, match="the model already has quants"):
        apply_record(many_layers().quantized(), ORIGINAL)
    with pytest.raises(PassError, match="the model is already quantized"):
        apply_record(deploy.lower(many_layers().quantized()), ORIGINAL)
