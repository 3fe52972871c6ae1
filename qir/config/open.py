"""Opens configurations of any kind, and makes new ones in AMCT's form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from qir.backends.targets import target_named
from qir.config.amct.convert import quant_config
from qir.config.amct.create import create_config
from qir.config.amct.definition import Definition, parse_definition
from qir.config.amct.file import AmctConfig
from qir.config.amct.reader import parse_config
from qir.config.layers import Model, read_model
from qir.config.settings import QuantConfig
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.passes.pipeline import parse_pipeline

ConfigSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, object] | QuantConfig"
"""A path (`config.json` or `.cfg`), the entries of a `config.json`, or a QuantConfig."""


def open_config(source: ConfigSource, model: Model) -> QuantConfig:
    """The configuration for a model; a ConfigError names the key or layer that does not fit it."""
    if isinstance(source, QuantConfig):
        return source
    if isinstance(source, Mapping):
        try:
            text = json.dumps(source)
        except TypeError as error:
            raise ConfigError(f"the configuration cannot be written as JSON: {error}") from error
        return quant_config(parse_config(text, model, "the configuration"))
    path = Path(source)
    if path.suffix == ".json":
        return quant_config(parse_config(read_text(path), model, str(path)))
    if path.suffix == ".cfg":
        return quant_config(create_config(model, definition=read_definition(path)))
    raise ConfigError(f"'{path}' is no configuration; qir reads AMCT's config.json and its simplified .cfg")


def read_definition(path: Path) -> Definition:
    """A simplified configuration out of its file."""
    return parse_definition(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file; ConfigError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not text in UTF-8: {error}") from error


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
    return create_config(model, skip_layers, batch_num, activation_offset, definition)
