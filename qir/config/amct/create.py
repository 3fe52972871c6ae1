"""Makes a new configuration for a model, as AMCT's create_quant_config does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from qir.config.amct.checks import check_config, check_skipped
from qir.config.amct.defaults import default_layer
from qir.config.amct.definition import Definition, Level, TensorWords, Words
from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import Activation, AmctConfig, AmctLayer, AmctTensor, Weight
from qir.config.amct.params import balance_strength, read_activation, read_weight
from qir.config.amct.reader import checked_batch_num
from qir.config.amct.values import Entry
from qir.config.layers import Layer, Model
from qir.ir.errors import did_you_mean

_log = logging.getLogger(__name__)
_DEFINITION = "config_defination"  # sic: AMCT's name of the argument


def create_config(
    model: Model,
    skip_layers: Sequence[str] = (),
    batch_num: int = 1,
    activation_offset: bool = True,
    definition: Definition | None = None,
) -> AmctConfig:
    """A configuration of every layer that the target can quantize.

    With a definition the other arguments are ignored, as in AMCT (a warning says so when layers were to be
    skipped). AmctValueError when names are unknown, or when nothing is left to quantize.
    """
    if definition is None:
        definition = Definition(batch_num, activation_offset, skip_layers=tuple(skip_layers))
    elif skip_layers:
        _log.warning("skip_layers %s are ignored: %s is given", list(skip_layers), _DEFINITION)
    if not model.layers and not definition.tensors:
        raise AmctValueError("No layer support quantization in the graph.")
    skipped = _skipped(definition, model)
    _check_overrides(definition, model)
    layers = {name: _layer(layer, definition, name not in skipped) for name, layer in model.layers.items()}
    if not definition.tensors and skipped >= set(layers):
        raise AmctValueError("Except skip_layers, no layer needs to quantize.")
    config = AmctConfig(
        batch_num=checked_batch_num(definition.batch_num),
        activation_offset=definition.activation_offset,
        joint_quant=definition.joint_quant,
        do_fusion=definition.do_fusion,
        precision_mode=definition.precision_mode,
        skip_fusion_layers=definition.skip_fusion_layers,
        tensors=tuple(_tensor(words, definition) for words in definition.tensors),
        layers=layers,
    )
    check_config(config, model)
    return config


def _skipped(definition: Definition, model: Model) -> set[str]:
    """Names of the layers to leave in float."""
    check_skipped(definition.skip_layers, model)
    _check_types("skip_layer_types", definition.skip_layer_types, model)
    by_type = (
        name for name, layer in model.layers.items() if set(layer.types) & set(definition.skip_layer_types)
    )
    return {*definition.skip_layers, *by_type}


def _check_types(key: str, types: Iterable[str], model: Model) -> None:
    known = model.known_types
    for name in types:
        if name not in known:
            raise AmctValueError(
                f"{key}: target '{model.target.name}' quantizes no layers of type '{name}', only "
                f"{', '.join(known)}{did_you_mean(name, known)}"
            )


def _check_overrides(definition: Definition, model: Model) -> None:
    _check_types("override_layer_types", definition.types, model)
    check_skipped(definition.layers, model)


def _layer(layer: Layer, definition: Definition, enabled: bool) -> AmctLayer:
    default = default_layer(layer, definition.activation_offset)
    levels = [level for level, _ in _levels(layer, definition)]
    balance = next((level.balance for level in levels if level.balance is not None), None)
    weight = next((level.weight for level in levels if level.weight is not None), None)
    if weight is not None and not layer.has_weight:
        weight = {key: value for key, value in weight.items() if key != "channel_wise"}
    if balance is not None:
        balance = balance_strength(Entry(balance, _DEFINITION, (layer.name, "dmq_balancer_param")))
    words = _entry(weight, layer.name, "weight_quant_params")
    return AmctLayer(
        enabled,
        _activation(layer, definition, default.activation),
        default.weight if words is None else _weight(layer, read_weight(words, default.weight)),
        balance if layer.has_weight else None,
    )


def _weight(layer: Layer, wanted: Weight) -> Weight:
    """The same; AMCT writes INT8 into the file where the layer cannot have fewer bits."""
    reason = layer.lacks_weight_bits(wanted.num_bits)
    if reason is None:
        return wanted
    if layer.has_weight:
        _log.warning("layer %s gets INT8 weights instead of INT%d: %s", layer.name, wanted.num_bits, reason)
    return replace(wanted, num_bits=8)


def _levels(layer: Layer, definition: Definition) -> list[tuple[Level, bool]]:
    """What is said of a layer, the finest first, and whether it is said of this layer or its type."""
    found = [
        definition.layers.get(layer.name),
        *(definition.types.get(t) for t in dict.fromkeys(layer.types)),
    ]
    return [*((level, True) for level in found if level is not None), (definition.common, False)]


def _activation(layer: Layer, definition: Definition, default: Activation) -> Activation:
    """The finest level's words; the zero point: its own word, else common's if the method is the same."""
    levels = _levels(layer, definition)
    words, own = next(
        ((level.activation, own) for level, own in levels if level.activation is not None), (None, False)
    )
    entry = _entry(words, layer.name, "activation_quant_params")
    if entry is None or words is None:
        return default
    if not own or "asymmetric" not in words:
        asymmetric = _common_asymmetric(words, definition, default.asymmetric) and not layer.symmetric_only
        entry = Entry({**words, "asymmetric": asymmetric}, entry.filename, entry.path)
    return read_activation(entry, default)


def _common_asymmetric(words: Words, definition: Definition, default: bool) -> bool:
    common = definition.common.activation
    if common is None or common.get("act_algo") != words.get("act_algo"):
        return default
    return bool(common.get("asymmetric", default))


def _tensor(words: TensorWords, definition: Definition) -> AmctTensor:
    default = Activation(asymmetric=definition.activation_offset)
    entry = _entry(words.activation, f"tensor_quantize.{words.layer_name}", "activation_quant_params")
    activation = default if entry is None else read_activation(entry, default)
    return AmctTensor(words.layer_name, words.input_index, activation)


def _entry(words: Words | None, *path: str) -> Entry | None:
    return None if words is None else Entry(dict(words), _DEFINITION, path)
