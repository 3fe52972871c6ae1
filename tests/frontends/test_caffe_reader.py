"""How a Caffe net becomes a graph: names, blobs in place, phases, inputs, the batch, old forms of files."""

from __future__ import annotations

import numpy as np
import pytest
from caffe_build import Array, blob, caffemodel, field, net, read, run

from qir.frontends.caffe.caffemodel import parse_weights
from qir.frontends.caffe.prototxt import parse_net
from qir.frontends.caffe.reader import build_graph
from qir.ir.types import TensorType


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


CONV = "convolution_param { num_output: 4 kernel_size: 3 bias_term: false }"
IN_PLACE = net(
    {"data": (1, 3, 8, 8)},
    f"""
    layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {CONV} }}
    layer {{ name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }}
    layer {{ name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param {{ bias_term: true }} }}
    layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
    layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ kernel_size: 2 }} }}
    layer {{ name: "relu2" type: "ReLU" bottom: "pool" top: "pool" }}
    """,
)
WEIGHTS = {
    "conv": [numbers(4, 3, 3, 3)],
    "bn": [numbers(4), np.abs(numbers(4)) + 1, np.array([0.5], np.float32)],
    "scale": [numbers(4, seed=1), numbers(4, seed=2)],
}


def test_layers_keep_their_names_and_the_last_writing_of_a_blob_its_name() -> None:
    graph = read(IN_PLACE, WEIGHTS)
    assert [(node.op, node.name) for node in graph.nodes] == [
        ("Conv", "conv"), ("BatchNormalization", "bn"), ("Relu", "relu"), ("MaxPool", "pool"),
        ("Relu", "relu2"),
    ]  # fmt: skip
    assert [node.output.name for node in graph.nodes] == [
        "conv/conv", "conv/scale", "conv", "pool/pool", "pool",
    ]  # fmt: skip
    assert [v.name for v in graph.outputs] == ["pool"]
    assert graph.value("conv.weight").constant is not None


def test_batch_norm_with_scale_by_its_formula() -> None:
    x = numbers(2, 3, 8, 8)
    text = IN_PLACE[: IN_PLACE.index('layer { name: "pool"')].replace(
        'name: "relu" type: "ReLU"', 'name: "a" type: "Split"'
    )
    found = run(read(text, WEIGHTS), {"data": x})["conv"]
    plain = run(read(text[: text.index('layer { name: "bn"')], WEIGHTS), {"data": x})["conv"]
    (mean, variance, factor), (gamma, beta) = WEIGHTS["bn"], WEIGHTS["scale"]
    shape = (1, 4, 1, 1)
    unit = (plain - (mean / factor).reshape(shape)) / np.sqrt((variance / factor).reshape(shape) + 1e-5)
    np.testing.assert_allclose(found, unit * gamma.reshape(shape) + beta.reshape(shape), rtol=1e-4, atol=1e-5)


def test_batch_norm_of_factor_zero_has_no_statistics() -> None:
    weights = {**WEIGHTS, "bn": [*WEIGHTS["bn"][:2], np.zeros(1, np.float32)]}
    node = read(IN_PLACE, weights).node("bn")
    held = [v.constant.array for v in node.inputs[3:] if v is not None and v.constant is not None]
    assert not np.any(held)


@pytest.mark.parametrize(
    "between",
    [
        'layer { name: "other" type: "ReLU" bottom: "bn" top: "other" }',
        'layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }',
    ],
)
def test_batch_norm_that_others_read_takes_no_scale(between: str) -> None:
    text = net(
        {"data": (1, 4, 8, 8)},
        f"""
        layer {{ name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }}
        {between}
        layer {{ name: "scale" type: "Scale" bottom: "bn" top: "y" }}
        """,
    )
    graph = read(text, {**WEIGHTS, "scale": WEIGHTS["scale"][:1]})
    assert [node.op for node in graph.nodes] == ["BatchNormalization", "Relu", "Mul"]
    assert graph.has_node("scale")


def test_scale_of_other_axes_stays_behind_its_batch_norm() -> None:
    text = net(
        {"data": (1, 4, 8, 6)},
        """
        layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }
        layer { name: "scale" type: "Scale" bottom: "bn" top: "y" scale_param { axis: 2 num_axes: 2 } }
        """,
    )
    graph = read(text, {**WEIGHTS, "scale": [numbers(8, 6)]})
    assert [node.op for node in graph.nodes] == ["BatchNormalization", "Mul"]


def test_an_input_that_is_overwritten_keeps_its_name() -> None:
    text = net({"x": (1, 2)}, 'layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }')
    found = run(read(text), {"x": np.array([[-1, 1]], np.float32)})
    assert {k: v.tolist() for k, v in found.items()} == {"x/relu": [[0, 1]]}


def test_derived_names_make_way_for_those_of_the_net() -> None:
    text = net(
        {"x": (1, 2, 2, 2)},
        """
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
        layer { name: "fc/flatten" type: "ReLU" bottom: "y" top: "fc/flatten" }
        layer { name: "z" type: "Eltwise" bottom: "fc/flatten" bottom: "y" top: "fc.weight" }
        """,
    )
    graph = read(text, {"fc": [numbers(2, 8), numbers(2)]})
    assert graph.node("fc/flatten").op == "Relu"
    assert graph.node("fc").op == "Gemm"
    assert [v.name for v in graph.outputs] == ["fc.weight"]


def test_split_tops_and_silence() -> None:
    text = net(
        {"x": (1, 2)},
        """
        layer { name: "split" type: "Split" bottom: "x" top: "a" top: "b" top: "c" }
        layer { name: "quiet" type: "Silence" bottom: "b" }
        """,
    )
    found = run(read(text), {"x": np.ones((1, 2), np.float32)})
    assert list(found) == ["a", "c"]


PHASES = net(
    {"x": (1, 2)},
    """
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "label" include { phase: TRAIN } }
    layer { name: "a" type: "ReLU" bottom: "x" top: "a" include { phase: TEST } }
    layer { name: "b" type: "TanH" bottom: "a" top: "b" exclude { phase: TEST } }
    layer { name: "c" type: "AbsVal" bottom: "a" top: "c" include { phase: TEST stage: "deploy" } }
    layer { name: "d" type: "Sigmoid" bottom: "a" top: "d" exclude { stage: "deploy" } }
    layer { name: "e" type: "ELU" bottom: "a" top: "e" include { min_level: 1 } include { not_stage: "x" } }
    layer { name: "f" type: "BNLL" bottom: "a" top: "f" include { max_level: 0 } }
    """,
)


@pytest.mark.parametrize(
    ("state", "names"),
    [("", "adef"), ('state { stage: "deploy" level: 1 }', "ace"), ('state { stage: "x" }', "adf")],
)
def test_layers_of_the_test_phase_run(state: str, names: str) -> None:
    assert [node.name for node in read(f"{state}\n{PHASES}").nodes] == list(names)


@pytest.mark.parametrize(
    "inputs",
    [
        'input: "x" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5',
        'input: "x" input_shape { dim: 2 dim: 3 dim: 4 dim: 5 }',
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }',
        'layer { name: "in" type: "DummyData" top: "x" dummy_data_param {'
        " num: 2 channels: 3 height: 4 width: 5 } }",
        'layer { name: "in" type: "MemoryData" top: "x" top: "label" memory_data_param {'
        " batch_size: 2 channels: 3 height: 4 width: 5 } }",
    ],
)
def test_forms_of_inputs(inputs: str) -> None:
    graph = read(f'{inputs} layer {{ name: "relu" type: "ReLU" bottom: "x" top: "y" }}')
    assert [v.name for v in graph.inputs] == ["x"]
    assert graph.inputs[0].tensor.shape == ("N", 3, 4, 5)


TRAIN_VAL = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
        transform_param { mirror: true crop_size: 9 mean_file: "m" } data_param { source: "a" } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 8 } data_param { source: "b" batch_size: 50 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 group: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" include { phase: TRAIN } }
"""


def test_data_layer_of_the_test_phase_is_an_input_of_the_size_that_crop_and_weights_say() -> None:
    graph = read(TRAIN_VAL, {"conv": [numbers(4, 3, 3, 3), numbers(4)]})
    assert [(v.name, v.tensor.shape) for v in graph.inputs] == [("data", ("N", 6, 8, 8))]
    assert [v.name for v in graph.outputs] == ["conv"]


def test_batch_is_a_symbol_unless_a_layer_computes_with_it() -> None:
    x = numbers(5, 4, 2, 2)
    text = net({"x": (1, 4, 2, 2)}, """
        layer { name: "r" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: SIZE dim: -1 } } }
    """)  # fmt: skip
    graph = read(text.replace("SIZE", "0"))
    assert graph.inputs[0].tensor.shape == ("N", 4, 2, 2)
    assert run(graph, {"x": x})["y"].shape == (5, 16)
    graph = read(text.replace("SIZE", "1"))
    assert graph.inputs[0].tensor.shape == (1, 4, 2, 2)
    assert run(graph, {"x": x[:1]})["y"].shape == (1, 16)


def test_inputs_of_different_batches_stay_fixed() -> None:
    text = net({"x": (2, 4), "rois": (300, 5)}, 'layer { name: "a" type: "ReLU" bottom: "x" top: "y" }')
    assert [v.type for v in read(text).inputs] == [
        TensorType(v.tensor.dtype, shape)
        for v, shape in zip(read(text).inputs, [(2, 4), (300, 5)], strict=True)
    ]


V1 = """
name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 0
         convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc" inner_product_param { num_output: 2 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" include: { phase: TRAIN } }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""


def test_old_form_of_layers_and_of_all_weights() -> None:
    weights = {"conv": [numbers(4, 3, 3, 3), numbers(4)], "fc": [numbers(2, 144), numbers(2)]}
    parsed = parse_net(V1, "old.prototxt")
    graphs = [
        build_graph(parsed, parse_weights(caffemodel(weights, form=form)))
        for form in ("layer", "layers", "v0")
    ]
    assert [node.name for node in graphs[0].nodes] == ["conv", "relu", "fc/flatten", "fc", "prob"]
    assert len({str(graph) for graph in graphs}) == 1
    x = numbers(3, 3, 8, 8)
    assert run(graphs[0], {"data": x})["prob"].shape == (3, 2)


def test_blobs_of_doubles_and_blobs_in_chunks() -> None:
    array = numbers(3, 4)
    wide = field(100, field(1, b"a") + field(7, blob(array, double=True)))
    shape = field(7, field(1, b"\x03\x04"))
    chunks = shape + field(5, array.tobytes()[:8]) + field(5, array.tobytes()[8:])
    data = wide + field(100, field(1, b"b") + field(7, chunks))
    for held in parse_weights(data).values():
        np.testing.assert_array_equal(held[0], array)


def test_the_same_files_give_the_same_text() -> None:
    assert str(read(IN_PLACE, WEIGHTS)) == str(read(IN_PLACE, WEIGHTS))
