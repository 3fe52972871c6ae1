"""AMCT's configuration as a QuantConfig."""

from __future__ import annotations

from typing import cast

from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import Activation, AmctConfig, AmctLayer, Arq, Hfmg, Ifmr, Weight
from qir.config.settings import (
    InputSettings,
    LayerSettings,
    Method,
    Precision,
    QuantConfig,
    WeightSettings,
)
from qir.passes.options import OptionValue

_IFMR_FIELDS = ("max_percentile", "min_percentile", "start", "end", "step")


def quant_config(config: AmctConfig) -> QuantConfig:
    """The same wishes as a QuantConfig: what the file does not list stays in float.

    AmctValueError for what the file may ask and qir does not do yet.
    """
    if config.joint_quant:
        raise AmctValueError("joint_quant is not available yet; set it to false")
    if config.weight_offset:
        raise AmctValueError("weight_offset: weights are always symmetric; set it to false")
    return QuantConfig(
        default=LayerSettings(False, InputSettings(asymmetric=config.activation_offset)),
        layers={name: _settings(layer) for name, layer in config.layers.items()},
        tensors={f"{t.layer_name}:{t.input_index}": _input(t.activation) for t in config.tensors},
        fusion=config.do_fusion,
        skip_fusion_layers=config.skip_fusion_layers,
        batch_num=config.batch_num,
        float16_scales=config.precision_mode == "FORCE_FP16_QUANT",
    )


def _settings(layer: AmctLayer) -> LayerSettings:
    return LayerSettings(
        layer.quant_enable, _input(layer.activation), _weight(layer.weight), balance=layer.dmq_balancer_param
    )


def _input(activation: Activation) -> InputSettings:
    return InputSettings(
        cast(Precision, f"int{activation.num_bits}"), activation.asymmetric, _method(activation.algorithm)
    )


def _method(algorithm: Ifmr | Hfmg) -> Method:
    """The method with those options that are not AMCT's defaults."""
    if isinstance(algorithm, Hfmg):
        return Method.of("hfmg", {} if algorithm == Hfmg() else {"bins": algorithm.num_of_bins})
    return Method.of(
        "ifmr", {k: v for k, v in _ifmr_options(algorithm).items() if v != _ifmr_options(Ifmr())[k]}
    )


def _ifmr_options(ifmr: Ifmr) -> dict[str, OptionValue]:
    numbers = (ifmr.max_percentile, ifmr.min_percentile, *ifmr.search_range, ifmr.search_step)
    return dict(zip(_IFMR_FIELDS, numbers, strict=True))


def _weight(weight: Weight) -> WeightSettings:
    method = Method("arq") if isinstance(weight.algorithm, Arq) else _weight_method(weight)
    return WeightSettings(cast(Precision, f"int{weight.num_bits}"), weight.channel_wise, method)


def _weight_method(weight: Weight) -> Method:
    """A method that is refused by its name when passes are made; its options matter to nobody until then."""
    return Method(weight.name)
