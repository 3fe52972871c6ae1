"""Everything that is wrong in AMCT's configuration: the message, and the kind of error that AMCT raises."""

from __future__ import annotations

import json

import pytest
from amct_models import layers

from qir.config.amct.create import create_config
from qir.config.amct.definition import parse_definition
from qir.config.amct.reader import parse_config
from qir.ir.errors import ConfigError


def layer(**entries: object) -> dict[str, object]:
    return {"conv": entries}


def activation(**entries: object) -> dict[str, object]:
    return layer(activation_quant_params=entries)


def weight(**entries: object) -> dict[str, object]:
    return layer(weight_quant_params=entries)


@pytest.mark.parametrize(
    ("entries", "kind", "message"),
    [
        ({"version": 2}, ValueError, "The version must be 1."),
        ({"version": "1"}, TypeError, 'version must be an integer, not "1"'),
        ({"batch_num": 0}, ValueError, "The batch_num must be greater than zero."),
        ({"batch_num": True}, TypeError, "batch_num must be an integer, not true"),
        ({"activation_offset": 1}, TypeError, "activation_offset must be true or false, not 1"),
        ({"do_fusion": "yes"}, TypeError, 'do_fusion must be true or false, not "yes"'),
        ({"fakequant_precision_mode": "FP16"}, ValueError, "must be 'DEFAULT' or 'FORCE_FP16_QUANT'"),
        ({"skip_fusion_layers": "conv"}, TypeError, 'skip_fusion_layers must be a list, not "conv"'),
        ({"skip_fusion_layers": ["conv", "conv"]}, ValueError, "Please delete repeated items in skip_fusion"),
        (
            {"skip_fusion_layers": ["cnv"]},
            ValueError,
            "Layer \"cnv\" in skip_fusion_layers does not exist in the graph. Did you mean 'conv'",
        ),
        (
            {"skip_fusion_layers": ["relu"]},
            ValueError,
            "Skip fusion layer \"relu\"'s type not in supported list ['Conv', ",
        ),
        ({"cnv": {}}, ValueError, "cnv is an invalid layer name or parameter. Did you mean 'conv'"),
        ({"batch_nm": 1}, ValueError, "batch_nm is an invalid layer name or parameter."),
        ({"relu": {}}, ValueError, "layer relu does not support quant."),
        ({"conv": 3}, TypeError, "conv must be an object {…}, not 3"),
        (
            layer(quant_enabled=True),
            ValueError,
            "conv.quant_enabled is an invalid parameter; did you mean 'quant",
        ),
        (layer(quant_enable=1), TypeError, "conv.quant_enable must be true or false, not 1"),
        (
            layer(quant_enable=False),
            RuntimeError,
            "No quant enable layer in quant config file, please check the quant config file.",
        ),
        (layer(dmq_balancer_param=0.1), ValueError, "conv.dmq_balancer_param must be in [0.2, 0.8], not 0.1"),
        ({"pool": {"dmq_balancer_param": 0.5}}, ValueError, "layer pool does not support dmq_balancer"),
        (
            activation(num_bits=7),
            ValueError,
            "conv.activation_quant_params.num_bits must be one of 4, 8, 16, not 7",
        ),
        (
            {"mm": {"activation_quant_params": {"num_bits": 16}}},
            ValueError,
            "current layer mm does not support int16 quant.",
        ),
        (
            {"volume": {"activation_quant_params": {"num_bits": 16, "asymmetric": False}}},
            ValueError,
            "current layer volume does not support int16 quant.",
        ),
        (
            {"volume": {"activation_quant_params": {"asymmetric": True}}},
            ValueError,
            "current layer volume only support act symmetric quant.",
        ),
        (activation(act_algo="kl"), ValueError, "act_algo must be 'ifmr' or 'hfmg', not 'kl'"),
        (
            activation(num_of_bins=1024, search_step=0.1),
            ValueError,
            "['search_step'] and ['num_of_bins'] can not appear at same time",
        ),
        (
            activation(act_algo="ifmr", num_of_bins=1024),
            ValueError,
            "['num_of_bins'] does not belong to act_algo",
        ),
        (
            activation(num_of_bins=1000),
            ValueError,
            "num_of_bins must be one of 1024, 2048, 4096, 8192, not 1000",
        ),
        (activation(max_percentile=0.5), ValueError, "max_percentile must be in (0.5, 1.0], not 0.5"),
        (activation(min_percentile="1"), TypeError, 'min_percentile must be a number, not "1"'),
        (activation(search_range=[1.0]), TypeError, "search_range must be a list of two numbers, not [1.0]"),
        (
            activation(search_range=[1.3, 0.7]),
            ValueError,
            "search_range must be two numbers with 0 < first < second",
        ),
        (
            activation(search_step=0),
            ValueError,
            "search_step must be above 0 and not above the width of search_range",
        ),
        (activation(search_step=0.7), ValueError, "the width of search_range, 0.6, not 0.7"),
        (
            activation(search_step=float("inf")),
            ValueError,
            "search_step must be a finite number, not Infinity",
        ),
        (weight(num_bits=5), ValueError, "num_bits must be one of 4, 6, 7, 8, not 5"),
        (weight(wts_algo="arq"), ValueError, "wts_algo must be 'arq_quantize' or"),
        (
            {"pool": {"weight_quant_params": {"channel_wise": True}}},
            ValueError,
            "The channel_wise must be False for layer type AveragePool",
        ),
        (
            {"fc": {"weight_quant_params": {"channel_wise": True}}},
            ValueError,
            "The channel_wise must be False for layer type Gemm",
        ),
        (
            weight(num_iteration=3),
            ValueError,
            "conv.weight_quant_params.num_iteration does not belong to wts_algo",
        ),
        (
            weight(wts_algo="ada_quantize", num_iteration=-1),
            ValueError,
            "num_iteration must be 0 or more, not -1",
        ),
        (weight(wts_algo="ada_quantize", reg_param=1.0), ValueError, "reg_param must be in (0, 1), not 1.0"),
        (
            weight(wts_algo="ada_quantize", beta_range=[2, 20]),
            ValueError,
            "beta_range must be two numbers with first > second > 0",
        ),
        (weight(wts_algo="ada_quantize", warm_start=0), ValueError, "warm_start must be in (0, 1), not 0"),
        (weight(wts_algo="nuq_quantize", num_steps=8), ValueError, "num_steps must be one of 16, 32, not 8"),
        (
            weight(wts_algo="nuq_quantize", num_of_iteration=6),
            ValueError,
            "must be one of 0, 1, 2, 3, 4, 5, not 6",
        ),
        ({"tensor_quantize": [{"input_index": 0}]}, ValueError, "tensor_quantize.[0] has no layer_name"),
        (
            {"tensor_quantize": [{"layer_name": "mx"}]},
            ValueError,
            "Layer mx does not exist in the graph. Did you mean",
        ),
        ({"tensor_quantize": [{"layer_name": "conv"}]}, ValueError, "layer conv does not support quant."),
        (
            {"tensor_quantize": [{"layer_name": "max", "input_index": 1}]},
            ValueError,
            "MaxPool has no data input 1",
        ),
    ],
)
def test_a_file_with_a_mistake(entries: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(json.dumps(entries), layers())
    assert isinstance(caught.value, kind)
    assert message in str(caught.value)


def test_repeated_keys() -> None:
    for text in ('{"batch_num":1,"batch_num":2}', '{"conv":{"quant_enable":true,"quant_enable":true}}'):
        with pytest.raises(ValueError, match=r"Please delete repeated items in c\.json: '"):
            parse_config(text, layers(), "c.json")


def test_text_that_is_no_json() -> None:
    with pytest.raises(ConfigError, match=r"c\.json:2:1: this is not JSON"):
        parse_config('{"conv":\n', layers(), "c.json")
    with pytest.raises(ConfigError, match=r"'c\.json' must be an object"):
        parse_config("[]", layers(), "c.json")


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        (["cnv"], "Layer cnv does not exist in the graph. Did you mean 'conv'"),
        (["relu"], "Layer relu does not support quantization."),
        (["conv", "up", "pool", "fc", "mm", "volume"], "Except skip_layers, no layer needs to quantize."),
    ],
)
def test_skip_lists(skip: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        create_config(layers(), skip)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_num: 0", "The batch_num must be greater than zero."),
        ("batch_size: 1", 'has no field named "batch_size"'),
        (
            "common_config { ifmr_quantize { } hfmg_quantize { } }",
            "cannot be parsed as a simplified configuration",
        ),
        (
            "common_config { ifmr_quantize { max_percentile: 0.4 } }",
            "max_percentile must be in (0.5, 1.0], not 0.4",
        ),
        (
            "common_config { arq_quantize { channel_wise: true } }",
            "The channel_wise must be False for layer type Gemm",
        ),
        (
            "common_config { ifmr_quantize { dst_type: INT16 } }",
            "current layer pool does not support int16 quant.",
        ),
        (
            "common_config { dmq_balancer { migration_strength: 0.9 } }",
            "dmq_balancer_param must be in [0.2, 0.8]",
        ),
        ('skip_layer_types: "Linaer"', "quantizes no layers of type 'Linaer'"),
        ('override_layer_types { layer_type: "Dense" }', "quantizes no layers of type 'Dense'"),
        ('override_layer_configs { layer_name: "cnv" }', "Layer cnv does not exist in the graph."),
        ("override_layer_configs { }", "an override has no layer_name"),
        (
            'override_layer_configs { layer_name: "fc" } override_layer_configs { layer_name: "fc" }',
            "Please delete repeated items",
        ),
        ("nuq_config { }", "nuq_config (weights in clusters) is not available yet"),
    ],
)
def test_a_definition_with_a_mistake(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_config(layers(), definition=parse_definition(text))
    assert isinstance(caught.value, ValueError)
    assert message in str(caught.value)
