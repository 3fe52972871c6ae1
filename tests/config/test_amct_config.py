"""AMCT's config.json and .cfg: byte for byte the reference's files, round trips, priorities."""

from __future__ import annotations

import json
import logging

import pytest
from amct_models import DATA, NETS, VARIANTS, config_text, layers, model_of_net

from qir.config.amct.convert import quant_config
from qir.config.amct.create import create_config
from qir.config.amct.definition import parse_definition
from qir.config.amct.express import amct_config
from qir.config.amct.file import Ada, AmctConfig, Hfmg
from qir.config.amct.reader import parse_config


def defined(text: str) -> AmctConfig:
    return create_config(layers(), definition=parse_definition(text))


@pytest.mark.parametrize("pipeline", ["amct", "default"])
@pytest.mark.parametrize("net", NETS)
def test_default_configuration_is_the_references_byte_for_byte(net: str, pipeline: str) -> None:
    assert create_config(model_of_net(net, pipeline), batch_num=2).text() == config_text(net)


@pytest.mark.parametrize("net", VARIANTS)
def test_simplified_configuration_gives_the_references_file_byte_for_byte(net: str) -> None:
    definition = parse_definition((DATA / net / "quant.cfg").read_text())
    assert create_config(model_of_net(net), definition=definition).text() == config_text(net)


@pytest.mark.parametrize("net", [*NETS, *VARIANTS])
def test_a_file_is_read_and_written_without_a_change(net: str) -> None:
    assert parse_config(config_text(net), model_of_net(net)).text() == config_text(net)


@pytest.mark.parametrize("net", [*NETS, *VARIANTS])
def test_a_file_survives_being_a_quant_config(net: str) -> None:
    model = model_of_net(net)
    config = quant_config(parse_config(config_text(net), model))
    assert amct_config(config, model).text() == config_text(net)


def test_options_survive_being_a_quant_config() -> None:
    config = defined(
        """
        activation_offset: false skip_layers: "fc" do_fusion: false skip_fusion_layers: "conv"
        common_config { ifmr_quantize { search_range_start: 0.8 search_step: 0.02 max_percentile: 0.9 } }
        override_layer_configs { layer_name: "conv" calibration_config { arq_quantize { quant_bits: 4 }
          hfmg_quantize { num_of_bins: 1024 } dmq_balancer { } } }
        tensor_quantize { layer_name: "max" hfmg_quantize { asymmetric: true } }
        """
    )
    assert amct_config(quant_config(config), layers()) == config


def test_arguments() -> None:
    config = create_config(model_of_net("default_sym"), batch_num=2, activation_offset=False)
    assert config.text() == config_text("default_sym")
    skipped = create_config(layers(), skip_layers=["fc"], batch_num=3)
    assert skipped.batch_num == 3
    assert {n for n, layer in skipped.layers.items() if not layer.quant_enable} == {"fc"}


def test_every_key_goes_round() -> None:
    config = defined(
        """
        batch_num: 4 joint_quant: false do_fusion: false skip_fusion_layers: "conv" skip_layers: "fc"
        skip_layer_types: "ConvTranspose2d" fakequant_precision_mode: FORCE_FP16_QUANT
        override_layer_configs { layer_name: "conv" calibration_config {
          ada_quantize { num_iteration: 5 reg_param: 0.1 beta_range_start: 10 beta_range_end: 1
            warm_start: 0.3 }
          hfmg_quantize { num_of_bins: 1024 dst_type: INT16 } dmq_balancer { migration_strength: 0.3 } } }
        override_layer_configs { layer_name: "mm" calibration_config { nuq_quantize { num_steps: 16 } } }
        tensor_quantize { layer_name: "max" ifmr_quantize { search_step: 0.02 asymmetric: false } }
        """
    )
    assert [n for n, layer in config.layers.items() if not layer.quant_enable] == ["up", "fc"]
    conv = config.layers["conv"]
    assert conv.weight.algorithm == Ada(5, 0.1, (10.0, 1.0), 0.3)
    assert (conv.activation.algorithm, conv.activation.num_bits) == (Hfmg(1024), 16)
    assert conv.dmq_balancer_param == 0.3  # not 0.30000001192092896
    assert config.layers["pool"].dmq_balancer_param is None
    assert parse_config(config.text(), layers()) == config
    keys = list(json.loads(config.text()))
    assert keys[:8] == [
        "version", "batch_num", "activation_offset", "joint_quant", "do_fusion", "fakequant_precision_mode",
        "skip_fusion_layers", "tensor_quantize",
    ]  # fmt: skip
    assert keys[8:] == sorted(keys[8:])


def test_layer_over_type_over_common() -> None:
    config = defined(
        """
        common_config { ifmr_quantize { search_step: 0.03 } arq_quantize { quant_bits: 8 } }
        override_layer_types { layer_type: "Linear"
          calibration_config { ifmr_quantize { search_step: 0.02 } } }
        override_layer_configs { layer_name: "mm" calibration_config { ifmr_quantize { search_step: 0.05 } } }
        """
    )
    steps = {name: layer.activation.algorithm.search_step for name, layer in config.layers.items()}  # type: ignore[union-attr]
    assert steps == {"conv": 0.03, "up": 0.03, "pool": 0.03, "fc": 0.02, "mm": 0.05, "volume": 0.03}


def test_zero_point_of_the_layer_then_of_common_with_the_same_method_then_of_the_model() -> None:
    config = defined(
        """
        activation_offset: false
        common_config { ifmr_quantize { asymmetric: true } }
        override_layer_configs { layer_name: "conv" calibration_config { ifmr_quantize { } } }
        override_layer_configs { layer_name: "up" calibration_config { hfmg_quantize { } } }
        override_layer_configs { layer_name: "fc" calibration_config { ifmr_quantize { asymmetric: false } } }
        override_layer_configs { layer_name: "mm" calibration_config { hfmg_quantize { asymmetric: true } } }
        """
    )
    found = {name: layer.activation.asymmetric for name, layer in config.layers.items()}
    assert found == {"conv": True, "up": False, "pool": True, "fc": False, "mm": True, "volume": False}


def test_missing_keys_have_their_defaults() -> None:
    text = '{"activation_offset":false,"conv":{},"mm":{"activation_quant_params":{"num_of_bins":2048}}}'
    config = parse_config(text, layers())
    assert list(config.layers) == ["conv", "mm"]
    assert config.layers["conv"].quant_enable
    assert not config.layers["conv"].activation.asymmetric
    assert config.layers["conv"].weight.channel_wise
    assert not config.layers["mm"].weight.channel_wise
    assert config.layers["mm"].activation.algorithm == Hfmg(2048)


def test_weights_that_cannot_be_narrow_are_int8_in_the_file() -> None:
    config = defined("common_config { arq_quantize { quant_bits: 6 } }")
    assert {n: layer.weight.num_bits for n, layer in config.layers.items()} == {
        "conv": 6, "up": 8, "pool": 8, "fc": 8, "mm": 8, "volume": 8,
    }  # fmt: skip


def test_skip_layers_beside_a_definition_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = create_config(layers(), ["conv"], 7, definition=parse_definition("batch_num: 2"))
    assert config.batch_num == 2
    assert config.layers["conv"].quant_enable
    assert "['conv'] are ignored" in caplog.text
