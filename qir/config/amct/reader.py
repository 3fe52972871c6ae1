"""Reads AMCT's `config.json`: keys, types and ranges, then names and types of layers against the model."""

from __future__ import annotations

from typing import cast

from qir.config.amct.checks import check_config, check_layer_names
from qir.config.amct.defaults import default_layer
from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import Activation, AmctConfig, PrecisionMode
from qir.config.amct.params import read_layer, read_tensor
from qir.config.amct.values import Table, parse_json
from qir.config.layers import Model

AMCT_KEYS = (
    "version", "batch_num", "activation_offset", "joint_quant", "weight_offset", "do_fusion",
    "fakequant_precision_mode", "skip_fusion_layers", "tensor_quantize",
)  # fmt: skip
"""The keys of the file that are no names of layers."""


def parse_config(text: str, model: Model, filename: str = "config.json") -> AmctConfig:
    """The configuration that a `config.json` holds, checked against the model.

    A layer that the file does not have is not quantized; a key that a layer lacks has its default. A
    ConfigError of AMCT's kind (ValueError, TypeError or RuntimeError) names the key and what was expected.
    """
    table = parse_json(text, filename)
    _check_version(table)
    names = [key for key in table if key not in AMCT_KEYS]
    check_layer_names(names, model)
    offset = _flag(table, "activation_offset", True)
    layers = {
        name: read_layer(table[name].table(), default_layer(model.layers[name], offset)) for name in names
    }
    tensors = table.get("tensor_quantize")
    default = Activation(asymmetric=offset)
    config = AmctConfig(
        _batch_num(table),
        offset,
        _optional_flag(table, "joint_quant"),
        _optional_flag(table, "weight_offset"),
        _flag(table, "do_fusion", True),
        _precision_mode(table),
        _names(table, "skip_fusion_layers"),
        () if tensors is None else tuple(read_tensor(entry, default) for entry in tensors.items()),
        layers,
    )
    check_config(config, model)
    return config


def _check_version(table: Table) -> None:
    entry = table.get("version")
    if entry is not None and entry.integer() != 1:
        raise AmctValueError("The version must be 1.")


def _batch_num(table: Table) -> int:
    entry = table.get("batch_num")
    return 1 if entry is None else checked_batch_num(entry.integer())


def checked_batch_num(batch_num: int) -> int:
    """The same number; AmctValueError unless it is above zero."""
    if batch_num < 1:
        raise AmctValueError(f"The batch_num must be greater than zero. It is {batch_num}.")
    return batch_num


def _precision_mode(table: Table) -> PrecisionMode:
    entry = table.get("fakequant_precision_mode")
    choices = ("DEFAULT", "FORCE_FP16_QUANT")
    return "DEFAULT" if entry is None else cast(PrecisionMode, entry.one_of(choices))


def _flag(table: Table, key: str, default: bool) -> bool:
    found = _optional_flag(table, key)
    return default if found is None else found


def _optional_flag(table: Table, key: str) -> bool | None:
    entry = table.get(key)
    return None if entry is None else entry.boolean()


def _names(table: Table, key: str) -> tuple[str, ...]:
    entry = table.get(key)
    return () if entry is None else tuple(item.string() for item in entry.items())
