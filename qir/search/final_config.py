"""The configuration that a search ends with, as AMCT's `config.json`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qir.config.amct.create import create_config
from qir.config.amct.file import AmctConfig, AmctLayer
from qir.config.amct.reader import parse_config
from qir.config.layers import Model
from qir.config.levels.file import Levels
from qir.config.open import ConfigSource, as_levels, read_definition
from qir.config.settings import QuantConfig
from qir.config.text_file import read_text
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.passes.insertion.selection import skipped_names
from qir.search.amct_files import FINAL_CONFIG_FILE, write_text
from qir.search.configurations import Configuration


def final_config(start: AmctConfig, quantized: Collection[str], configuration: Configuration) -> str:
    """The text of `start` with the flags of a search: `quant_enable` is true for layers that stay quantized.

    Layers that became INT16 are enabled, with 16 bits.
    """
    layers: Mapping[str, AmctLayer] = {
        name: _layer(layer, name in quantized, configuration.get(name))
        for name, layer in start.layers.items()
    }
    return replace(start, layers=layers).text()


def _layer(layer: AmctLayer, quantized: bool, rung: str | None) -> AmctLayer:
    if rung == "int16":
        return replace(layer, quant_enable=True, activation=replace(layer.activation, num_bits=16))
    return replace(layer, quant_enable=quantized and rung is None)


def write_final_config(start: AmctConfig, folder: Path, graph: Graph, configuration: Configuration) -> None:
    """Write the final configuration of a search, whose result is `graph`, as AMCT calls it."""
    names = {node.name for node in quantized_layers(graph)}
    write_text(folder / FINAL_CONFIG_FILE, final_config(start, names, configuration))


def start_config(model: Model, source: ConfigSource | None, skip: Sequence[str]) -> AmctConfig:
    """What `final_config` starts from: the user's configuration, or all layers with their defaults."""
    if (
        source is None
        or isinstance(source, (QuantConfig, Levels))
        or as_levels(source, model.names) is not None
    ):
        names = skipped_names(skip, {name: layer.op for name, layer in model.layers.items()})
        return create_config(model, [name for name in names if name in model.layers])
    if isinstance(source, Mapping):
        return parse_config(json.dumps(source), model, "the configuration")
    path = Path(source)
    if path.suffix == ".cfg":
        return create_config(model, definition=read_definition(path))
    return parse_config(read_text(path), model, str(path))
