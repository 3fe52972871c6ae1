"""What tuning starts from: a `quant_config` of the user, or one that says nothing but INT8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

from qir.config.layers import Model
from qir.config.levels.file import CalibrationType, Levels, ModelLevel, ModelwiseSearch, NodeLevel
from qir.config.open import ConfigSource, as_levels
from qir.ir.errors import ConfigError, did_you_mean
from qir.passes.insertion.selection import skipped_names

SEARCH = "search"
"""In the place of a method: choose one."""


def start_levels(
    source: ConfigSource | None, method: str | None, skip: Sequence[str], model: Model
) -> Levels:
    """The quant_config that every mixture shares: what it says of nodes stays, the others are tuned.

    `method` calibrates activations (`search`: one is to be chosen), layers of `skip` stay in float.
    ConfigError for a source of another form, and for one that leaves nothing to tune.
    """
    levels = Levels() if source is None else as_levels(source, model.names)
    if levels is None:
        raise ConfigError(
            "tuning writes a quant_config, so it starts from one (model_config, op_config, …); "
            "configurations of other forms are for `qir quantize` and `qir auto`"
        )
    if levels.model.all_node_type not in (None, "int8"):
        raise ConfigError(
            f"model_config.all_node_type is '{levels.model.all_node_type}', but tuning starts from int8 and "
            "raises what needs it; leave it out, and pin nodes in node_config"
        )
    if levels.model.layerwise_search is not None:
        raise ConfigError(
            "model_config.layerwise_search chooses a method for each layer, and tuning takes one for all; "
            "use modelwise_search"
        )
    whole = replace(levels.model, all_node_type="int8")
    names = skipped_names(skip, {name: layer.op for name, layer in model.layers.items()})
    nodes = {**levels.nodes, **{name: NodeLevel("float32") for name in names}}
    return replace(levels, model=whole if method is None else _calibrated(whole, method), nodes=nodes)


def _calibrated(level: ModelLevel, method: str) -> ModelLevel:
    known = get_args(CalibrationType)
    if method == SEARCH:
        return replace(level, modelwise_search=level.modelwise_search or ModelwiseSearch())
    if method not in known:
        raise ConfigError(
            f"a quant_config has no calibration method '{method}'; known: {', '.join(known)}, or {SEARCH}"
            f"{did_you_mean(method, known)}"
        )
    given = level.activation.calibration_type
    if given and given != (method,):
        raise ConfigError(
            f"model_config.activation.calibration_type is '{given[0]}', but method is '{method}'; give one"
        )
    kind = cast(CalibrationType, method)
    return replace(level, activation=replace(level.activation, calibration_type=(kind,)))
