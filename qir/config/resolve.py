"""Settles what is asked of each layer: layer over regular expression over op type over default."""

from __future__ import annotations

import re
from collections.abc import Iterable

from qir.config.layers import Layer, Model
from qir.config.settings import LayerSettings, QuantConfig
from qir.ir.errors import ConfigError, did_you_mean


def resolve(config: QuantConfig, model: Model) -> dict[str, LayerSettings]:
    """Name -> settings for every layer that the target can quantize, in running order.

    ConfigError for names and types that do not exist, with the nearest ones.
    """
    _check_names("layers", config.layers, model)
    _check_names("skip_layers", config.skip_layers, model)
    _check_types("types", config.types, model)
    _check_types("skip_types", config.skip_types, model)
    for pattern in (*config.patterns, *config.skip_patterns):
        if not any(re.search(pattern, name) for name in model.names):
            raise ConfigError(f"the expression '{pattern}' matches no layer")
    return {name: _settled(config, layer) for name, layer in model.layers.items()}


def is_enabled(settings: LayerSettings) -> bool:
    """True unless the layer is to stay in float."""
    return settings.enabled is not False and "float32" not in (
        settings.input(0).precision,
        settings.weight.precision,
        *(single.precision for single in settings.operands.values()),
    )


def _settled(config: QuantConfig, layer: Layer) -> LayerSettings:
    found = config.default
    for kind in layer.types:
        found = config.types.get(kind, LayerSettings()).over(found)
    for pattern, settings in config.patterns.items():
        if re.search(pattern, layer.name):
            found = settings.over(found)
    found = config.layers.get(layer.name, LayerSettings()).over(found)
    skipped = (
        layer.name in config.skip_layers
        or set(layer.types) & set(config.skip_types)
        or any(re.search(pattern, layer.name) for pattern in config.skip_patterns)
    )
    return LayerSettings(enabled=False).over(found) if skipped else found


def _check_names(key: str, names: Iterable[str], model: Model) -> None:
    for name in names:
        if name not in model.names:
            hint = did_you_mean(name, model.layers) or "; `qir config` lists the layers"
            raise ConfigError(f"{key}: there is no layer '{name}' in the model{hint}")


def _check_types(key: str, types: Iterable[str], model: Model) -> None:
    known = model.known_types
    for kind in types:
        if kind not in known:
            raise ConfigError(
                f"{key}: target '{model.target.name}' quantizes no layers of type '{kind}', only "
                f"{', '.join(known)}{did_you_mean(kind, known)}"
            )
