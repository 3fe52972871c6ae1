"""Opens configurations of any kind, and makes new ones in AMCT's form."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from qir.backends.targets import target_named
from qir.config.amct.convert import quant_config
from qir.config.amct.create import create_config
from qir.config.amct.definition import Definition, parse_definition
from qir.config.amct.file import AmctConfig
from qir.config.amct.reader import parse_config
from qir.config.layers import Model, read_model
from qir.config.levels.convert import levels_config
from qir.config.levels.file import Levels
from qir.config.levels.reader import is_levels, parse_levels
from qir.config.settings import QuantConfig
from qir.config.text_file import read_text
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.passes.insertion.selection import skipped_names
from qir.passes.pipeline import parse_pipeline

ConfigSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, object] | QuantConfig | Levels"
"""A path (`config.json`, `.cfg` or a quant_config), the entries of a JSON file of one of the two forms, or
what such a file holds."""


def open_config(source: ConfigSource, model: Model) -> QuantConfig:
    """The configuration for a model; a ConfigError names the key or layer that does not fit it."""
    if isinstance(source, QuantConfig):
        return source
    if isinstance(source, Levels):
        return levels_config(source, model)
    if isinstance(source, Mapping):
        return _from_json(_json(source), model, "the configuration")
    path = Path(source)
    if path.suffix == ".json":
        return _from_json(read_text(path), model, str(path))
    if path.suffix == ".cfg":
        return quant_config(create_config(model, definition=read_definition(path)))
    raise ConfigError(
        f"'{path}' is no configuration; qir reads AMCT's config.json and its simplified .cfg, "
        "and quant_config as JSON"
    )


def _from_json(text: str, model: Model, filename: str) -> QuantConfig:
    if is_levels(text, filename, model.names):
        return levels_config(parse_levels(text, filename), model)
    return quant_config(parse_config(text, model, filename))


def _json(source: Mapping[str, object]) -> str:
    try:
        return json.dumps(source)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the configuration cannot be written as JSON: {error}") from error


def as_levels(source: ConfigSource, names: Collection[str] = ()) -> Levels | None:
    """The quant_config that a source is, or None when it is a configuration of another form.

    `names` are the nodes of the model, which AMCT's form has as keys.
    """
    if isinstance(source, (Levels, QuantConfig)):
        return source if isinstance(source, Levels) else None
    path = Path() if isinstance(source, Mapping) else Path(source)
    if not isinstance(source, Mapping) and path.suffix != ".json":
        return None
    text, name = (
        (_json(source), "the configuration") if isinstance(source, Mapping) else (read_text(path), str(path))
    )
    return parse_levels(text, name) if is_levels(text, name, names) else None


def read_definition(path: Path) -> Definition:
    """A simplified configuration out of its file."""
    return parse_definition(read_text(path), str(path))


def create_quant_config(
    graph: Graph,
    skip_layers: Sequence[str] = (),
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: str | os.PathLike[str] | None = None,
    *,
    target: str = "ascend",
    pipeline: str = "default",
) -> AmctConfig:
    """AMCT's create_quant_config: a configuration of every layer of a float model that can be quantized.

    `config_defination` (AMCT's spelling) is the path of a simplified `.cfg`; with it the arguments before it
    are ignored. The pipeline decides which layers the model has once its exact passes have run. Errors are
    ConfigErrors of AMCT's kind, ValueError for unknown layers.
    """
    chosen = target_named(target)
    model = read_model(graph, chosen, parse_pipeline(pipeline, named=chosen.pipelines))
    definition = None if config_defination is None else read_definition(Path(config_defination))
    names = skipped_names(skip_layers, {name: layer.op for name, layer in model.layers.items()})
    return create_config(model, names, batch_num, activation_offset, definition)
