"""Reads AMCT's simplified configuration, a `.cfg` in protobuf's text format.

What it says of activations and weights is kept in the words of `config.json`, whose reader checks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf import text_format

from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import JsonValue, PrecisionMode
from qir.config.amct.schema import message_class

Words = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Level:
    """What one level says: of activations, of weights, of the DMQ balancer. None: nothing."""

    activation: Words | None = None
    weight: Words | None = None
    balance: float | None = None


@dataclass(frozen=True)
class TensorWords:
    """One `tensor_quantize` of the file."""

    layer_name: str
    input_index: int
    activation: Words


@dataclass(frozen=True)
class Definition:
    """A whole simplified configuration; layers win over types, types over `common`."""

    batch_num: int = 1
    activation_offset: bool = True
    joint_quant: bool | None = None
    skip_layers: tuple[str, ...] = ()
    skip_layer_types: tuple[str, ...] = ()
    precision_mode: PrecisionMode = "DEFAULT"
    common: Level = Level()
    types: Mapping[str, Level] = field(default_factory=dict)
    layers: Mapping[str, Level] = field(default_factory=dict)
    do_fusion: bool = True
    skip_fusion_layers: tuple[str, ...] = ()
    tensors: tuple[TensorWords, ...] = ()


def parse_definition(text: str, filename: str = "<text>") -> Definition:
    """The configuration of a `.cfg` text; AmctValueError says what protobuf cannot read, and where."""
    book: Any = message_class()()
    try:
        text_format.Parse(text, book)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise AmctValueError(
            f"'{filename}' cannot be parsed as a simplified configuration: {error}"
        ) from error
    if book.HasField("nuq_config"):
        raise AmctValueError(
            f"'{filename}': nuq_config (weights in clusters) is not available yet; delete it"
        )
    return Definition(
        book.batch_num if book.HasField("batch_num") else 1,
        book.activation_offset if book.HasField("activation_offset") else True,
        book.joint_quant if book.HasField("joint_quant") else None,
        tuple(book.skip_layers),
        tuple(book.skip_layer_types),
        "FORCE_FP16_QUANT" if book.fakequant_precision_mode == 1 else "DEFAULT",
        _level(book.common_config),
        _overrides(book.override_layer_types, "layer_type"),
        _overrides(book.override_layer_configs, "layer_name"),
        book.do_fusion if book.HasField("do_fusion") else True,
        tuple(book.skip_fusion_layers),
        tuple(TensorWords(t.layer_name, t.input_index, _activation(t) or {}) for t in book.tensor_quantize),
    )


def _overrides(entries: Sequence[Any], key: str) -> dict[str, Level]:
    found: dict[str, Level] = {}
    for entry in entries:
        name = getattr(entry, key)
        if not name:
            raise AmctValueError(f"an override has no {key}")
        if name in found:
            raise AmctValueError(f"Please delete repeated items in the overrides: {key} '{name}'")
        found[name] = _level(entry.calibration_config)
    return found


def _level(config: Any) -> Level:  # noqa: ANN401, a class that protobuf makes at run time
    balance = None
    if config.HasField("dmq_balancer"):
        balance = _number(config.dmq_balancer, "migration_strength", 0.5)
    return Level(_activation(config), _weight(config), balance)


def _activation(config: Any) -> Words | None:  # noqa: ANN401
    kind = config.WhichOneof("activation")
    if kind is None:
        return None
    part = getattr(config, kind)
    found: dict[str, JsonValue] = {}
    if kind == "hfmg_quantize":
        found |= {
            "act_algo": "hfmg",
            "num_of_bins": part.num_of_bins if part.HasField("num_of_bins") else 4096,
        }
    else:
        found |= {
            "act_algo": "ifmr",
            "max_percentile": _number(part, "max_percentile", 0.999999),
            "min_percentile": _number(part, "min_percentile", 0.999999),
            "search_range": [
                _number(part, "search_range_start", 0.7),
                _number(part, "search_range_end", 1.3),
            ],
            "search_step": _number(part, "search_step", 0.01),
        }
    if part.HasField("asymmetric"):
        found["asymmetric"] = part.asymmetric
    if part.HasField("dst_type"):
        found["num_bits"] = {1: 8, 2: 16}[part.dst_type]
    return found


def _weight(config: Any) -> Words | None:  # noqa: ANN401
    kind = config.WhichOneof("weight")
    if kind is None:
        return None
    part = getattr(config, kind)
    found: dict[str, JsonValue] = {"wts_algo": kind}
    if kind == "arq_quantize" and part.HasField("quant_bits"):
        found["num_bits"] = part.quant_bits
    if kind != "nuq_quantize" and part.HasField("channel_wise"):
        found["channel_wise"] = part.channel_wise
    if kind == "ada_quantize":
        found |= {
            "num_iteration": part.num_iteration if part.HasField("num_iteration") else 10000,
            "reg_param": _number(part, "reg_param", 0.01),
            "beta_range": [_number(part, "beta_range_start", 20.0), _number(part, "beta_range_end", 2.0)],
            "warm_start": _number(part, "warm_start", 0.2),
        }
    if kind == "nuq_quantize":
        found |= {
            "num_steps": part.num_steps if part.HasField("num_steps") else 32,
            "num_of_iteration": part.num_of_iteration,
        }
    return found


def _number(part: Any, name: str, default: float) -> float:  # noqa: ANN401
    """A float32 field as the shortest decimal that reads back, so that 0.7 stays 0.7 (as in AMCT)."""
    return float(str(np.float32(getattr(part, name)))) if part.HasField(name) else default
