"""The settings of a QuantConfig in AMCT's words: a `config.json` of every layer of a model."""

from __future__ import annotations

from qir.config.amct.defaults import default_layer
from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import (
    Activation,
    Ada,
    AmctConfig,
    AmctLayer,
    AmctTensor,
    Arq,
    Hfmg,
    Ifmr,
    Nuq,
    Weight,
)
from qir.config.layers import Layer, Model
from qir.config.resolve import is_enabled, resolve
from qir.config.settings import InputSettings, LayerSettings, Method, Precision, QuantConfig
from qir.passes.options import OptionValue

_BITS: dict[Precision, int] = {"int4": 4, "int6": 6, "int7": 7, "int8": 8, "int16": 16}
_IFMR = ("max_percentile", "min_percentile", "start", "end", "step")


def amct_config(config: QuantConfig, model: Model) -> AmctConfig:
    """What AMCT's file says of it; AmctValueError for what it has no words for."""
    offset = config.default.inputs.asymmetric is not False
    default = Activation(asymmetric=offset)
    tensors = []
    for name, settings in config.tensors.items():
        layer, _, index = name.rpartition(":")
        tensors.append(AmctTensor(layer, int(index), _activation(name, settings, default)))
    return AmctConfig(
        batch_num=config.batch_num or 1,
        activation_offset=offset,
        do_fusion=config.fusion,
        precision_mode="FORCE_FP16_QUANT" if config.float16_scales else "DEFAULT",
        skip_fusion_layers=config.skip_fusion_layers,
        tensors=tuple(tensors),
        layers={
            name: _layer(model.layers[name], settings, default_layer(model.layers[name], offset))
            for name, settings in resolve(config, model).items()
        },
    )


def _layer(layer: Layer, settings: LayerSettings, default: AmctLayer) -> AmctLayer:
    inputs, weight = settings.input(0), settings.weight
    if layer.symmetric_only:
        inputs = InputSettings(inputs.precision, False, inputs.method)
    algorithm = _weight_algorithm(layer.name, weight.method)
    channel_wise = default.weight.channel_wise if weight.per_channel is None else weight.per_channel
    return AmctLayer(
        is_enabled(settings),
        _activation(layer.name, inputs, default.activation),
        Weight(_bits(layer.name, weight.precision), channel_wise and layer.per_channel, algorithm),
        settings.balance if layer.has_weight else None,
    )


def _activation(name: str, settings: InputSettings, default: Activation) -> Activation:
    asymmetric = default.asymmetric if settings.asymmetric is None else settings.asymmetric
    return Activation(_bits(name, settings.precision), _algorithm(name, settings.method), asymmetric)


def _bits(name: str, precision: Precision | None) -> int:
    if precision is None or precision == "float32":  # in float: the layer is not enabled
        return 8
    if precision not in _BITS:
        raise AmctValueError(f"'{name}': config.json has no word for the precision {precision}")
    return _BITS[precision]


def _algorithm(name: str, method: Method | None) -> Ifmr | Hfmg:
    if method is None:
        return Ifmr()
    options = dict(method.options)
    if method.name == "hfmg":
        return Hfmg(int(_number(name, options.pop("bins", 4096))))
    if method.name != "ifmr":
        raise AmctValueError(f"'{name}': config.json has no word for the method '{method.name}'")
    numbers = dict(zip(_IFMR, (0.999999, 0.999999, 0.7, 1.3, 0.01), strict=True))
    numbers |= {key: _number(name, value) for key, value in options.items()}
    most, least, start, end, step = (numbers[key] for key in _IFMR)
    return Ifmr(most, least, (start, end), step)


def _number(name: str, value: OptionValue) -> float:
    if not isinstance(value, (int, float)):
        raise AmctValueError(f"'{name}': {value!r} should be a number")
    return value


def _weight_algorithm(name: str, method: Method | None) -> Arq | Ada | Nuq:
    kinds: dict[str, Arq | Ada | Nuq] = {"arq": Arq(), "ada_quantize": Ada(), "nuq_quantize": Nuq()}
    found = kinds.get("arq" if method is None else method.name)
    if found is None:
        raise AmctValueError(f"'{name}': config.json has no word for the weight method of '{name}'")
    return found
