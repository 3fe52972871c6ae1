"""quant_config: read, checked, looked up in a model, resolved into passes and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from amct_models import LAYERS, TARGET, layers

import qir
from qir.config.levels.convert import levels_config
from qir.config.levels.file import LEVELS, Levels
from qir.config.levels.reader import levels_of, parse_levels, read_levels
from qir.config.lowering import quantizing_passes
from qir.config.run import resolved_rows
from qir.config.settings import QuantConfig
from qir.ir.errors import ConfigError
from qir.passes.pipeline import parse_pipeline, print_pipeline

BASE = parse_pipeline("default", named=TARGET.pipelines)
Json = dict[str, Any]
FULL: Json = {
    "model_config": {
        "all_node_type": "int16",
        "model_output_type": "int8",
        "activation": {
            "calibration_type": ["max", "kl", "hfmg"], "num_bin": [512, 1024], "max_num_bin": 4096,
            "max_percentile": [0.9999, 1.0], "per_channel": [False, True], "asymmetric": True,
        },
        "weight": {"bias_correction": {"num_sample": 3, "metric": "mse"}},
        "modelwise_search": {"metric": "sqnr", "similarity": 0.99},
        "layerwise_search": {"metric": "mre", "topk": 4, "qtype": "float16"},
    },
    "op_config": {"Conv": {"qtype": "dual-int16"}, "Relu": {"qtype": "float16"}},
    "subgraph_config": {"head": {"inputs": ["fc"], "outputs": ["sum"], "qtype": "int16-ec"}},
    "node_config": {"conv": {"qtype": "int8", "input0": "int16", "input1": "ec"}, "up": {"qtype": "float32"}},
}  # fmt: skip


def converted(entries: Json) -> QuantConfig:
    return levels_config(levels_of(entries), layers())


def passes(entries: Json) -> str:
    """The passes behind the exact ones, as far as they differ from the pipeline's."""
    found = print_pipeline(quantizing_passes(converted(entries), layers(), BASE))
    return found.replace("quantize-weights,calibrate,quantize-bias", "…")


def table(entries: Json) -> dict[tuple[str, str], tuple[str, str, str]]:
    rows = resolved_rows(qir.parse(LAYERS), entries or Levels(), TARGET, BASE)
    return {(row.node, row.operand): (row.requested, row.granted, row.reason) for row in rows}


def test_round_trip(tmp_path: Path) -> None:
    levels = levels_of(FULL)
    assert levels.fields() == FULL
    assert levels_of(levels.fields()) == levels
    file = tmp_path / "quant_config.json"
    file.write_text(json.dumps(FULL))
    assert read_levels(file) == levels
    assert levels_of({}) == Levels()
    assert levels_of({key: {} for key in LEVELS}) == Levels()


def test_defaults_of_the_searches() -> None:
    model = levels_of({
        "model_config": {"modelwise_search": {}, "layerwise_search": {}, "weight": {"bias_correction": {}}}
    }).model  # fmt: skip
    assert model.fields() == {
        "modelwise_search": {"metric": "cosine-similarity", "similarity": 1.0},
        "layerwise_search": {"metric": "cosine-similarity", "qtype": "int8"},
        "weight": {"bias_correction": {"num_sample": 1, "metric": "cosine-similarity"}},
    }


def activation(**keys: object) -> Json:
    return {"model_config": {"activation": keys}}


def nodes(**keys: Json) -> Json:
    return {"node_config": keys}


def ops(**keys: str) -> Json:
    return {"op_config": {op: {"qtype": qtype} for op, qtype in keys.items()}}


def subgraph(inputs: object, outputs: object, qtype: str = "int16") -> Json:
    return {"subgraph_config": {"part": {"inputs": inputs, "outputs": outputs, "qtype": qtype}}}


CALIBRATE = "insert-quant,quantize-weights,{},quantize-bias"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, "insert-quant,…"),
        (activation(), "insert-quant,…"),
        (activation(calibration_type="max"), CALIBRATE.format("calibrate{method=min-max}")),
        (
            activation(calibration_type=["max"], max_percentile=[1]),
            CALIBRATE.format("calibrate{method=min-max}"),
        ),
        (
            activation(calibration_type="max", max_percentile=0.999),
            CALIBRATE.format("calibrate{method=percentile percentile=0.999}"),
        ),
        (activation(calibration_type="min-max"), CALIBRATE.format("calibrate{method=min-max}")),
        (activation(calibration_type="percentile"), CALIBRATE.format("calibrate{method=percentile}")),
        (
            activation(calibration_type="percentile", max_percentile=0.99),
            CALIBRATE.format("calibrate{method=percentile percentile=0.99}"),
        ),
        (activation(calibration_type="kl"), CALIBRATE.format("calibrate{method=kl num-bin=1024}")),
        (
            activation(calibration_type="kl", num_bin=129, max_num_bin=258),
            CALIBRATE.format("calibrate{method=kl num-bin=129 max-num-bin=258}"),
        ),
        (activation(calibration_type="mse"), CALIBRATE.format("calibrate{method=mse}")),
        (activation(calibration_type="ifmr"), "insert-quant,…"),
        (
            activation(calibration_type="ifmr", max_percentile=0.999),
            CALIBRATE.format("calibrate{method=ifmr max-percentile=0.999 min-percentile=0.999}"),
        ),
        (
            activation(calibration_type="hfmg", num_bin=2048),
            CALIBRATE.format("calibrate{method=hfmg bins=2048}"),
        ),
        (activation(asymmetric=False), "insert-quant{layers=volume},insert-quant{asymmetric=false},…"),
        (activation(asymmetric=True, per_channel=False), "insert-quant,…"),
        (
            {"model_config": {"all_node_type": "int16"}},
            "insert-quant{layers=pool,mm,volume},insert-quant{precision=int16},…",
        ),
        (
            ops(Conv="int16", Relu="int16", GRU="int16"),
            "insert-quant{precision=int16 layers=conv},insert-quant,…",
        ),
        (ops(Conv="float32"), "insert-quant{skip=conv,volume},…"),
        ({**ops(Conv="float32"), **nodes(conv={"qtype": "int8"})}, "insert-quant{skip=volume},…"),
        (subgraph(["conv"], ["pool"]), "insert-quant{precision=int16 layers=conv,up},insert-quant,…"),
        (
            {**ops(Conv="float32"), **subgraph(["conv"], ["pool"]), **nodes(up={"qtype": "int8"})},
            "insert-quant{precision=int16 layers=conv},insert-quant{skip=volume},…",
        ),
        (nodes(fc={"input0": "int16"}), "insert-quant{precision=int16 ops=Gemm},insert-quant,…"),
        (nodes(fc={"input1": "float32"}), "insert-quant{skip=fc},…"),
        (nodes(fc={"qtype": "float32", "input0": "int8", "input1": "int8"}), "insert-quant,…"),
    ],
)
def test_passes(entries: Json, expected: str) -> None:
    assert passes(entries) == expected


def test_the_table_has_a_row_for_every_operand_of_a_layer() -> None:
    found = table({})
    assert set(found.values()) == {("int8", "int8", "")}
    assert list(found) == [
        (name, f"input{i}")
        for name in ("conv", "up", "pool", "fc", "mm", "volume")
        for i in range(1 if name == "pool" else 2)
    ]


ASCEND_WEIGHTS = "int4, int6, int7, int8, float16, float32"


@pytest.mark.parametrize(
    ("qtype", "reason"),
    [
        ("int16", "int16 is for the first input of a layer; int16-ec and dual-int16 raise the others, too"),
        (
            "dual-int16",
            f"an INT16 weight was asked for, but Ascend has no int16 weights, only {ASCEND_WEIGHTS}",
        ),
        ("int16-ec", f"an ec weight was asked for, but Ascend has no ec weights, only {ASCEND_WEIGHTS}"),
    ],
)
def test_what_the_target_lacks_is_the_nearest_lower_with_a_reason(qtype: str, reason: str) -> None:
    found = table({"model_config": {"all_node_type": qtype}})
    assert found["up", "input0"] == (qtype, "int16", "")
    assert found["up", "input1"] == (qtype, "int8", reason)
    assert found["mm", "input0"][1:] == (
        "int8", "an INT16 input was asked for, but there is no INT16 form of MatMul",
    )  # fmt: skip


def test_float16_is_granted_to_whole_layers() -> None:
    found = table({"model_config": {"all_node_type": "float16"}})
    assert set(found.values()) == {("float16", "float16", "")}
    found = table(nodes(fc={"input0": "float16"}))
    assert found["fc", "input0"] == ("float16", "float16", "")
    assert found["fc", "input1"][:2] == ("int8", "float16")
    assert "another operand is to be float16" in found["fc", "input1"][2]


def test_single_operands_and_named_nodes() -> None:
    found = table(
        nodes(
            fc={"qtype": "int16", "input1": "int8", "input2": "int16"},
            conv={"input0": "ec"},
            up={"input1": "float32"},
            relu={"qtype": "int16"},
            sum={"input0": "int8"},
            max={"qtype": "float32"},
        )
    )
    assert found["fc", "input0"] == ("int16", "int16", "")
    assert found["fc", "input1"] == ("int8", "int8", "")
    assert found["fc", "input2"][:2] == ("int16", "int32")
    assert "adds the bias as int32" in found["fc", "input2"][2]
    assert found["conv", "input0"] == (
        "ec", "int8",
        "an ec input was asked for, but Ascend has no ec inputs, only int8, int16, float16, float32",
    )  # fmt: skip
    assert found["up", "input1"] == ("float32", "float32", "")
    assert found["up", "input0"][:2] == ("int8", "float32")
    assert "another operand is to stay in float" in found["up", "input0"][2]
    assert found["relu", "all"] == (
        "int16",
        "float32",
        "target 'ascend' computes Relu as the float model does",
    )
    assert found["sum", "input0"][:2] == ("int8", "float32")
    assert found["max", "all"] == ("float32", "float32", "")


def test_types_of_outputs() -> None:
    found = table({"model_config": {"model_output_type": "int8"}})
    reason = "target 'ascend' returns outputs in the types of the float model"
    assert found["sum", "output"] == found["volume", "output"] == ("int8", "float32", reason)
    assert table({"model_config": {"model_output_type": "float32"}})["sum", "output"][2] == ""


def test_layers_that_are_never_quantized_have_a_row() -> None:
    graph = qir.parse(
        LAYERS.replace('AveragePool "pool"(%d) {kernel_shape=[8,8]}', 'GlobalAveragePool "pool"(%d)')
    )
    rows = {row.node: row for row in resolved_rows(graph, Levels(), TARGET, BASE)}
    assert (rows["pool"].operand, rows["pool"].requested, rows["pool"].granted) == ("all", "int8", "float32")
    assert rows["pool"].reason == "Ascend quantizes AveragePool, not global pooling"
    assert "relu" not in rows


def test_layers_that_other_configurations_skip_say_so() -> None:
    rows = resolved_rows(qir.parse(LAYERS), QuantConfig(skip_layers=("fc",)), TARGET, BASE)
    found = {(row.node, row.operand): row for row in rows}
    assert (found["fc", "input0"].granted, found["fc", "input0"].reason) == ("float32", "skipped by the user")
    assert (found["conv", "input0"].requested, found["conv", "input0"].granted) == ("-", "int8")


def test_folded_nodes_say_into_what() -> None:
    graph = qir.load(Path(__file__).parents[1] / "data" / "amct" / "cnn_bn" / "float.onnx")
    folded = next(node.name for node in graph.nodes if node.op == "BatchNormalization")
    rows = resolved_rows(graph, nodes(**{folded: {"qtype": "int16"}}), TARGET, BASE)
    (row,) = (row for row in rows if row.node == folded)
    assert (row.operand, row.granted) == ("all", "-")
    assert row.reason.startswith("it has been folded into layer 'conv1'")


def test_a_float16_layer_that_is_to_be_float16_stays_as_it_is() -> None:
    half = qir.parse(LAYERS.replace("f32", "f16"))
    rows = resolved_rows(half, nodes(up={"qtype": "float16"}, relu={"qtype": "float16"}), TARGET, BASE)
    found = {(row.node, row.operand): row for row in rows}
    assert (found["up", "input0"].granted, found["up", "input0"].reason) == ("float16", "")
    assert (found["relu", "all"].granted, found["relu", "all"].reason) == ("float16", "")


def model(**keys: object) -> Json:
    return {"model_config": keys}


BAD: list[tuple[Json, str]] = [
    ({"node_confg": {}, "node_config": {}}, "node_confg is an invalid parameter; did you mean 'node_config'"),
    ({"model_config": []}, "model_config must be an object"),
    (model(all_node_typ="int8"), "all_node_typ is an invalid parameter; did you mean 'all_node_type'"),
    (model(all_node_type="int7"), "model_config.all_node_type must be 'int8' or "),
    (model(all_node_type=8), "model_config.all_node_type must be a string, not 8"),
    (model(all_node_type="ec"), "model_config.all_node_type must be"),
    (model(model_output_type="int16-ec"), "model_config.model_output_type must be"),
    (activation(calibration_tpe="kl"), "model_config.activation.calibration_tpe is an invalid parameter"),
    (activation(calibration_type="lk"), "model_config.activation.calibration_type must be"),
    (activation(calibration_type=[]), "activation.calibration_type must be a list of at least one"),
    (activation(calibration_type=["max", "k"]), r"model_config.activation.calibration_type.\[1\] must be"),
    (activation(calibration_type=["kl", "kl"]), r"calibration_type.\[1\] must be another value: it stands"),
    (activation(calibration_type="kl", num_bin=128), "model_config.activation.num_bin must be at least 129"),
    (activation(calibration_type="kl", num_bin=[129, 1]), r"activation.num_bin.\[1\] must be at least 129"),
    (activation(calibration_type="kl", num_bin=[]), "activation.num_bin must be a list of at least one"),
    (activation(calibration_type="kl", num_bin=200.5), "activation.num_bin must be an integer"),
    (activation(calibration_type="kl", max_num_bin=257), "activation.max_num_bin must be at least 258"),
    (activation(calibration_type="kl", num_bin=900, max_num_bin=300), "max_num_bin must be at least num_bin"),
    (activation(calibration_type="kl", max_num_bin=300), "at least num_bin, not 300 below 1024"),
    (activation(calibration_type="max", max_percentile=0.4), r"max_percentile must be in \[0.5, 1.0\]"),
    (activation(calibration_type="max", max_percentile=float("nan")), "max_percentile must be a finite"),
    (activation(calibration_type="max", num_bin=512), "num_bin belongs to calibration_type 'kl' or 'hfmg'"),
    (activation(max_percentile=0.99), "model_config.activation.calibration_type is not given"),
    (activation(calibration_type="hfmg", num_bin=1000), "model_config.activation: .*hfmg needs bins of"),
    (activation(asymmetric="yes"), "model_config.activation.asymmetric must be true or false"),
    (activation(per_channel=1), "model_config.activation.per_channel must be true or false"),
    (model(weight={"bias": {}}), "model_config.weight.bias is an invalid parameter"),
    (model(weight={"bias_correction": {"num_sample": 0}}), "bias_correction.num_sample must be at least 1"),
    (model(weight={"bias_correction": {"metric": "cos"}}), "weight.bias_correction.metric must be"),
    (model(modelwise_search={"similarity": 1.5}), r"modelwise_search.similarity must be in \[0.0, 1.0\]"),
    (model(modelwise_search={"topk": 1}), "model_config.modelwise_search.topk is an invalid parameter"),
    (model(layerwise_search={"topk": 0}), "model_config.layerwise_search.topk must be at least 1"),
    (model(layerwise_search={"qtype": "int9"}), "model_config.layerwise_search.qtype must be"),
    (activation(calibration_type=["kl", "hfmg"], num_bin=[300]), "model_config.activation: hfmg needs bins"),
    ({"op_config": {"Conv": "int8"}}, "op_config.Conv must be an object"),
    ({"op_config": {"Conv": {}}}, "op_config.Conv must be an object that says something"),
    ({"op_config": {"Conv": {"input0": "int8"}}}, "op_config.Conv.input0 is an invalid parameter"),
    (ops(Convv="int8"), "op_config.Convv: ONNX has no op 'Convv'; did you mean 'Conv'"),
    (ops(Relu="dual-int16"), "op_config.Relu.qtype: 'dual-int16' is for Conv, ConvTranspose, Gemm"),
    (subgraph([], ["fc"]), "subgraph_config.part.inputs must be a list of at least one"),
    (subgraph(["conv"], []), "subgraph_config.part.outputs must be a list of at least one"),
    (subgraph("conv", ["fc"]), "subgraph_config.part.inputs must be a list"),
    (subgraph(["conv"], ["fc"], "int3"), "subgraph_config.part.qtype must be"),
    ({"subgraph_config": {"part": {"inputs": ["conv"]}}}, "subgraph_config.part: 'outputs' is missing"),
    (subgraph(["conf"], ["fc"]), r"part.inputs\[0\]: there is no node 'conf'.*did you mean 'conv'"),
    (subgraph(["conv"], ["fc", "su"]), r"subgraph_config.part.outputs\[1\]: there is no node 'su'"),
    (subgraph(["fc"], ["conv"]), r"part.inputs\[0\]: there is no path from node 'fc' to 'conv'"),
    (subgraph(["conv", "volume"], ["fc"]), r"part.inputs\[1\]: there is no path from node 'volume' to 'fc'"),
    (subgraph(["conv"], ["fc", "volume"]), r"part.outputs\[1\]: there is no path to node 'volume'"),
    (nodes(conf={"qtype": "int8"}), "node_config.conf: there is no node 'conf' in .*'conv'"),
    (nodes(conv={}), "node_config.conv must be an object that says something"),
    (nodes(conv={"qtype": "ec"}), "node_config.conv.qtype must be"),
    (nodes(conv={"input0": "dual-int16"}), "node_config.conv.input0 must be"),
    (nodes(conv={"inputs": "int8"}), "node_config.conv.inputs is an invalid parameter; did you mean 'input"),
    (nodes(relu={"input1": "int8"}), "node_config.relu.input1: this Relu has no such .* is input0"),
    (nodes(relu={"qtype": "int16-ec"}), "node_config.relu.qtype: 'int16-ec' is for Conv.* this is a Relu"),
    ({"model_config": {"all_node_type": "float32"}}, "leaves every layer in float"),
]  # fmt: skip


SEARCHES = [
    (model(modelwise_search={}), "search-method"),
    (
        model(modelwise_search={"metric": "mse", "similarity": 0.99}),
        "search-method{metric=mse similarity=0.99}",
    ),
    (
        model(layerwise_search={"topk": 2, "qtype": "int16"}, modelwise_search={"similarity": 0.9}),
        "search-method{scope=layer topk=2 qtype=int16}",
    ),
    (
        activation(calibration_type=["max", "kl"], num_bin=[1024, 2048], max_percentile=[1.0, 0.99995]),
        "search-method{methods=max,kl num-bin=1024,2048 max-percentile=1.0,0.99995}",
    ),
    (
        activation(calibration_type="kl", asymmetric=[False, True], per_channel=[True, False]),
        "search-method{methods=kl num-bin=1024 asymmetric=false,true per-channel=true,false}",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "expected"), SEARCHES)
def test_lists_and_searches_become_a_search(entries: Json, expected: str) -> None:
    found = print_pipeline(quantizing_passes(converted(entries), layers(), BASE))
    assert found == f"insert-quant,{expected},quantize-bias"


def test_precisions_and_searches_go_together() -> None:
    entries = {**model(modelwise_search={}), **nodes(conv={"qtype": "int16"})}
    found = print_pipeline(quantizing_passes(converted(entries), layers(), BASE))
    assert found == "insert-quant{precision=int16 layers=conv},insert-quant,search-method,quantize-bias"


def test_bias_correction_and_ranges_per_channel_are_passes_of_their_own() -> None:
    entries = model(
        weight={"bias_correction": {"num_sample": 4, "metric": "mse"}}, activation={"per_channel": True}
    )
    found = print_pipeline(quantizing_passes(converted(entries), layers(), BASE))
    assert found == (
        "equalize-inputs,insert-quant,quantize-weights,calibrate,correct-bias{samples=4 metric=mse},"
        "quantize-bias"
    )


def test_a_search_needs_a_calibrate_to_stand_for() -> None:
    with pytest.raises(ConfigError, match="no calibrate, in whose place"):
        quantizing_passes(converted(model(modelwise_search={})), layers(), BASE[:-2])
    with pytest.raises(ConfigError, match="no quantize-bias, so there are no biases"):
        quantizing_passes(converted(model(weight={"bias_correction": {}})), layers(), BASE[:-1])


@pytest.mark.parametrize(("entries", "message"), BAD)
def test_bad_input_names_the_place(entries: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        passes(entries)


def test_subgraphs_that_contradict_each_other() -> None:
    both: Json = {
        "subgraph_config": {
            "a": {"inputs": ["conv"], "outputs": ["up"], "qtype": "int16"},
            "b": {"inputs": ["up"], "outputs": ["pool"], "qtype": "int8"},
        }
    }
    with pytest.raises(
        ConfigError, match=r"subgraph_config.b.qtype: node 'up' would be int8, .*subgraph_config.a"
    ):
        passes(both)
    assert (
        passes({**both, **nodes(up={"qtype": "int8"})})
        == "insert-quant{precision=int16 layers=conv},insert-quant,…"
    )
    with pytest.raises(ConfigError, match=r"subgraph_config.b.qtype"):
        passes({**both, **nodes(up={"input0": "int8"})})
    both["subgraph_config"]["b"]["qtype"] = "int16"
    assert "layers=conv,up" in passes(both)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "file.json:1:2: this is not JSON"),
        ("[]", "'file.json' must be an object"),
        ('{"node_config": {"a": {"qtype": "int8"}, "a": {"qtype": "int8"}}}', "'a' stands there twice"),
        ("null", "must be an object"),
    ],
)
def test_what_is_no_object_of_json(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_levels(text, "file.json")


def test_what_cannot_be_json() -> None:
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        levels_of({"model_config": {1, 2}})


def test_nodes_between_boundaries_are_those_on_a_path_only() -> None:
    found = converted(subgraph(["up"], ["sum"], "float32"))
    assert list(found.layers) == ["up", "pool", "max", "flatten", "fc", "mm", "sum"]
    assert list(converted(subgraph(["fc"], ["mm"])).layers) == ["fc", "mm"]
    assert list(converted(subgraph(["fc"], ["fc"])).layers) == ["fc"]
