"""Configurations become passes: few of them, as text, with the reference's numbers in the end."""

from __future__ import annotations

import pytest
from amct_models import DATA, LAYERS, NETS, TARGET, graph_of, layers

import qir
from qir.backends.ascend.record import records
from qir.backends.ascend.record_reader import parse_record
from qir.config.lowering import quantizing_passes
from qir.config.run import configured_pipeline, quantize_configured
from qir.config.settings import InputSettings, LayerSettings, Method, QuantConfig, WeightSettings
from qir.ir.errors import ConfigError
from qir.passes.context import Context
from qir.passes.pipeline import parse_pipeline, print_pipeline
from qir.runtime.data import open_data

BASE = parse_pipeline("default", named=TARGET.pipelines)
WIDE = LayerSettings(inputs=InputSettings("int16"))
NARROW = LayerSettings(weight=WeightSettings("int4"))


def text(config: QuantConfig, base: str = "default") -> str:
    """The passes behind the exact ones, as text that parses back."""
    passes = quantizing_passes(config, layers(), parse_pipeline(base, named=TARGET.pipelines))
    found = print_pipeline(passes)
    assert parse_pipeline(found) == passes
    return found


def method(name: str, **options: float) -> LayerSettings:
    return LayerSettings(inputs=InputSettings(method=Method.of(name, options)))


def test_nothing_asked_is_the_pipeline_itself() -> None:
    assert configured_pipeline(qir.parse(LAYERS), QuantConfig(), TARGET, BASE) == BASE


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            QuantConfig(layers={"conv": WIDE}),
            "insert-quant{precision=int16 layers=conv},insert-quant,@W,@C,@B",
        ),
        (QuantConfig(types={"Gemm": WIDE}), "insert-quant{precision=int16 ops=Gemm},insert-quant,@W,@C,@B"),
        (
            QuantConfig(types={"Linear": NARROW}),
            "insert-quant{weight-bits=4 ops=Gemm,MatMul},insert-quant,@W,@C,@B",
        ),
        (QuantConfig(skip_types=("Conv",)), "insert-quant{skip=conv,volume},@W,@C,@B"),
        (
            QuantConfig(skip_patterns=("^[cf]",), skip_layers=("mm",)),
            "insert-quant{skip=conv,fc,mm},@W,@C,@B",
        ),
        (
            QuantConfig(layers={"fc": LayerSettings(enabled=False), "mm": LayerSettings(False)}),
            "insert-quant{skip=fc,mm},@W,@C,@B",
        ),
        (
            QuantConfig(default=LayerSettings(inputs=InputSettings(asymmetric=False))),
            "insert-quant{layers=volume},insert-quant{asymmetric=false},@W,@C,@B",
        ),
        (
            QuantConfig(default=LayerSettings(weight=WeightSettings(per_channel=False))),
            "insert-quant{ops=AveragePool,Gemm,MatMul},insert-quant{per-channel=false},@W,@C,@B",
        ),
        (
            QuantConfig(patterns={"c": LayerSettings(weight=WeightSettings(method=Method("kl")))}),
            "insert-quant,quantize-weights{method=kl layers=conv,fc},@W,@C,@B",
        ),
        (
            QuantConfig(default=method("min-max"), layers={"mm": method("ifmr", step=0.02)}),
            "insert-quant,@W,calibrate{method=ifmr step=0.02 ops=MatMul},calibrate{method=min-max},@B",
        ),
        (
            QuantConfig(tensors={"max:0": InputSettings(asymmetric=False, method=Method("min-max"))}),
            "insert-quant{symmetric-tensors=max:0},@W,calibrate{method=min-max regex=^max$},@C,@B",
        ),
        (QuantConfig(float16_scales=True), "insert-quant,@W,calibrate{scales=float16},@B"),
    ],
)
def test_settings_become_few_passes(config: QuantConfig, expected: str) -> None:
    short = {"@W": "quantize-weights", "@C": "calibrate", "@B": "quantize-bias"}
    for mark, name in short.items():
        expected = expected.replace(mark, name)
    assert text(config) == expected


def test_a_wider_level_falls_back_to_int8_where_a_layer_has_no_such_form() -> None:
    config = QuantConfig(default=WIDE)
    assert text(config) == (
        "insert-quant{layers=pool,mm,volume},insert-quant{precision=int16},quantize-weights,calibrate,quantize-bias"
    )


def test_options_of_the_pipeline_stay() -> None:
    found = text(QuantConfig(layers={"conv": WIDE}, skip_layers=("fc",)), "amct")
    assert found == (
        "insert-quant{precision=int16 layers=conv},insert-quant{skip=fc},quantize-weights,"
        "calibrate{weights=quantized},quantize-bias"
    )
    several = "insert-quant{precision=int16},insert-quant{skip=up},quantize-weights,calibrate,quantize-bias"
    assert text(QuantConfig(skip_layers=("fc",), layers={"mm": NARROW}), several) == (
        "insert-quant{weight-bits=4 ops=MatMul},insert-quant{precision=int16 skip=fc},"
        "insert-quant{skip=up,fc},quantize-weights,calibrate,quantize-bias"
    )


def test_fusion() -> None:
    graph = graph_of("cnn_bn")
    fused = [str(p) for p in configured_pipeline(graph, QuantConfig(), TARGET, BASE)]
    assert "fuse-bn" in fused
    assert "fuse-bn{skip=conv1}" in [
        str(p) for p in configured_pipeline(graph, QuantConfig(skip_fusion_layers=("conv1",)), TARGET, BASE)
    ]
    bare = configured_pipeline(graph, QuantConfig(fusion=False), TARGET, BASE)
    assert [str(p) for p in bare] == [p for p in fused if p != "fuse-bn"]
    context = Context(rules=TARGET.rules, data=open_data(DATA / "cnn_bn" / "calib.npz", graph))
    made = quantize_configured(graph, QuantConfig(fusion=False), TARGET, BASE, context).graph
    assert sum(n.op == "BatchNormalization" for n in made.nodes) == sum(
        n.op == "BatchNormalization" for n in graph.nodes
    )
    assert made.node("fc").attributes.get("transB", 0) == 0  # all other exact passes have run


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            QuantConfig(layers={"cnv": WIDE}),
            "layers: there is no layer 'cnv' in the model; did you mean 'conv'",
        ),
        (
            QuantConfig(layers={"zz": WIDE}),
            "layers: there is no layer 'zz' in the model; `qir config` lists the layers",
        ),
        (QuantConfig(types={"Cnv": WIDE}), "types: target 'ascend' quantizes no layers of type 'Cnv'"),
        (QuantConfig(patterns={"zz": WIDE}), "the expression 'zz' matches no layer"),
        (
            QuantConfig(layers={"mm": WIDE}),
            "layer 'mm': an INT16 input was asked for, but there is no INT16 form",
        ),
        (
            QuantConfig(layers={"fc": LayerSettings(weight=WeightSettings(per_channel=True))}),
            "layer 'fc': weight",
        ),
        (
            QuantConfig(layers={"volume": LayerSettings(inputs=InputSettings(asymmetric=True))}),
            "layer 'volume': ",
        ),
        (
            QuantConfig(default=LayerSettings(inputs=InputSettings("ec"))),
            "layer 'conv': activation precision ec is not available on target 'ascend', only int8, int16",
        ),
        (
            QuantConfig(layers={"fc": LayerSettings(weight=WeightSettings("int5"))}),
            "layer 'fc': weight precision int5 is not available on target",
        ),
        (
            QuantConfig(layers={"fc": LayerSettings(weight=WeightSettings(method=Method("ada_quantize")))}),
            "layer 'fc': weight_quant_params.wts_algo 'ada_quantize' is not available yet; use 'arq_qu",
        ),
        (
            QuantConfig(layers={"fc": LayerSettings(weight=WeightSettings(method=Method("magic")))}),
            "layer 'fc': in",
        ),
        (QuantConfig(layers={"fc": method("iffmr")}), "layer 'fc': in the pipeline: "),
        (QuantConfig(layers={"fc": method("ifmr", strp=1)}), "layer 'fc': in the pipeline: "),
        (QuantConfig(skip_patterns=(".",)), "the configuration leaves every layer in float"),
        (
            QuantConfig(tensors={"max:0": InputSettings("int16")}),
            "tensor 'max:0': precision int16 is not available",
        ),
    ],
)
def test_what_cannot_be_is_an_error(config: QuantConfig, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        text(config)
    assert str(caught.value).startswith(message)


def test_pipelines_without_a_place_for_it() -> None:
    with pytest.raises(ConfigError, match="the pipeline has no insert-quant"):
        text(QuantConfig(), "infer-types")
    with pytest.raises(
        ConfigError, match="the pipeline has no calibrate, but the configuration asks for one"
    ):
        text(QuantConfig(default=method("min-max")), "insert-quant")


def test_what_is_not_granted_is_said(caplog: pytest.LogCaptureFixture) -> None:
    graph = graph_of("mlp")
    context = Context(rules=TARGET.rules, data=open_data(DATA / "mlp" / "calib.npz", graph))
    quantize_configured(graph, QuantConfig(default=WIDE), TARGET, BASE, context)
    expected = [node.name for node in graph.nodes if node.op == "MatMul"]
    assert expected
    assert {e.node for e in context.rewrites.refusals() if e.kind == "config"} >= set(expected)
    assert f"'{expected[0]}': an INT16 input was asked for, but there is no INT16 form" in caplog.text


@pytest.mark.parametrize("net", [*NETS, "default_sym", "hfmg", "fp16", "int4"])
def test_the_references_configuration_gives_its_record(net: str) -> None:
    graph = graph_of(net)
    context = Context(rules=TARGET.rules, data=open_data(DATA / net / "calib.npz", graph))
    base = parse_pipeline("amct", named=TARGET.pipelines)
    made = quantize_configured(graph, DATA / net / "config.json", TARGET, base, context)
    found = records(made.graph)
    expected = parse_record((DATA / net / "record.txt").read_text())
    assert list(found) == list(expected)
    for name, golden in expected.items():
        mine = found[name]
        assert mine.scale_w == golden.scale_w, name
        assert (mine.act_type, mine.wts_type, mine.offset_d) == (
            golden.act_type,
            golden.wts_type,
            golden.offset_d,
        )
        # The same candidate of the search; convolution engines differ in the last bits.
        assert abs(mine.scale_d / golden.scale_d - 1) < 1e-6, name
