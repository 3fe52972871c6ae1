"""Reads a `quant_config`: keys, types and ranges, without a model; errors name the place in the JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar, cast, get_args

from qir.config.amct.reader import AMCT_KEYS
from qir.config.amct.values import Entry, Table, parse_json
from qir.config.levels.file import (
    LEVELS,
    ActivationLevel,
    BiasCorrection,
    CalibrationType,
    LayerwiseSearch,
    Levels,
    Metric,
    ModelLevel,
    ModelwiseSearch,
    NodeLevel,
    SubgraphLevel,
)
from qir.config.settings import Precision
from qir.config.text_file import read_text
from qir.ir.errors import ConfigError, did_you_mean, nearest

T = TypeVar("T")
_SINGLE = ("int8", "int16", "float16", "float32")
_TWOFOLD = ("dual-int16", "int16-ec")
TWOFOLD_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The op types that `dual-int16` and `int16-ec` are for."""
_INPUT = re.compile(r"input(0|[1-9][0-9]{0,8})")
_AXES = ("calibration_type", "num_bin", "max_num_bin", "max_percentile", "per_channel", "asymmetric")


def read_levels(path: Path) -> Levels:
    """The quant_config in a JSON file; ConfigError names the file or the place in it."""
    return parse_levels(read_text(path), str(path))


def levels_of(entries: Mapping[str, object]) -> Levels:
    """The same for the entries of a file."""
    try:
        text = json.dumps(entries)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the quant_config cannot be written as JSON: {error}") from error
    return parse_levels(text, "the quant_config")


def parse_levels(text: str, filename: str) -> Levels:
    """The same for a JSON text."""
    table = parse_json(text, filename)
    table.check_keys(LEVELS)
    model, ops, subgraphs, nodes = (_table(table, key) for key in LEVELS)
    return Levels(
        ModelLevel() if model is None else _model(model),
        _each(ops, _op),
        _each(subgraphs, _subgraph),
        _each(nodes, _node),
    )


def is_levels(text: str, filename: str, names: Collection[str]) -> bool:
    """Whether a JSON text is a quant_config, not AMCT's configuration, whose keys are names of layers.

    ConfigError when it has keys of both forms, or only one that is misspelt.
    """
    keys = tuple(parse_json(text, filename))
    own = [key for key in keys if key in LEVELS]
    foreign = [key for key in keys if key in names or key in AMCT_KEYS]
    if own and foreign:
        raise ConfigError(
            f"{filename} can be read in two ways: '{own[0]}' is a key of quant_config, '{foreign[0]}' one of "
            "AMCT's config.json; leave one of them out"
        )
    misspelt = [] if own or foreign else [key for key in keys if nearest(key, LEVELS)]
    if misspelt:
        raise ConfigError(f"{misspelt[0]} is an invalid parameter{did_you_mean(misspelt[0], LEVELS)}")
    return bool(own)


def _table(table: Table, key: str) -> Table | None:
    entry = table.get(key)
    return None if entry is None else entry.table()


def _each(table: Table | None, read: Callable[[str, Table], T]) -> dict[str, T]:
    return {} if table is None else {key: read(key, _not_empty(table[key])) for key in table}


def _not_empty(entry: Entry) -> Table:
    if not (table := entry.table()).values:
        raise entry.invalid("an object that says something")
    return table


def _qtype(entry: Entry, op: str | None = None) -> Precision:
    if op is not None and op not in TWOFOLD_OPS and entry.value in _TWOFOLD:
        raise ConfigError(
            f"{entry.place}: '{entry.value}' is for {', '.join(TWOFOLD_OPS)} only, not for {op}; "
            f"use {', '.join(_SINGLE)}"
        )
    return cast(Precision, entry.one_of((*_SINGLE, *_TWOFOLD)))


def _op(op: str, table: Table) -> Precision:
    table.check_keys(("qtype",))
    return _qtype(table["qtype"], op)


def _subgraph(_name: str, table: Table) -> SubgraphLevel:
    table.check_keys(("inputs", "outputs", "qtype"))
    for key in ("inputs", "outputs", "qtype"):
        if key not in table:
            raise ConfigError(
                f"{'.'.join(table.path)}: '{key}' is missing; it takes inputs, outputs and qtype"
            )
    inputs, outputs = (tuple(item.string() for item in _items(table[key])) for key in ("inputs", "outputs"))
    return SubgraphLevel(inputs, outputs, _qtype(table["qtype"]))


def _node(_name: str, table: Table) -> NodeLevel:
    inputs: dict[int, Precision] = {}
    for key in table:
        match = _INPUT.fullmatch(key)
        if match is not None:
            inputs[int(match[1])] = cast(Precision, table[key].one_of((*_SINGLE, "ec")))
        elif key != "qtype":
            place = ".".join((*table.path, key))
            known = ("qtype", "input0", "input1", "input2")
            hint = did_you_mean(key, known) or "; known here: qtype, input0, input1, …"
            raise ConfigError(f"{place} is an invalid parameter{hint}")
    return NodeLevel(_qtype(table["qtype"]) if "qtype" in table else None, inputs)


def _items(entry: Entry) -> list[Entry]:
    if not (items := entry.items()):
        raise entry.invalid("a list of at least one")
    for i, item in enumerate(items):
        if any(item.value == other.value for other in items[:i]):
            raise item.invalid("another value: it stands there twice")
    return items


def _model(table: Table) -> ModelLevel:
    table.check_keys(
        ("all_node_type", "model_output_type", "activation", "weight", "modelwise_search", "layerwise_search")
    )
    activation, weight = _table(table, "activation"), _table(table, "weight")
    modelwise, layerwise = _table(table, "modelwise_search"), _table(table, "layerwise_search")
    return ModelLevel(
        _qtype(table["all_node_type"]) if "all_node_type" in table else None,
        cast(Precision, table["model_output_type"].one_of(_SINGLE)) if "model_output_type" in table else None,
        ActivationLevel() if activation is None else _activation(activation),
        None if weight is None else _bias_correction(weight),
        None if modelwise is None else _modelwise(modelwise),
        None if layerwise is None else _layerwise(layerwise),
    )


def _activation(table: Table) -> ActivationLevel:
    table.check_keys(_AXES)

    def axis(key: str, read: Callable[[Entry], T]) -> tuple[T, ...]:
        entry = table.get(key)
        if entry is None:
            return ()
        return tuple(read(item) for item in (_items(entry) if isinstance(entry.value, list) else [entry]))

    found = ActivationLevel(
        axis("calibration_type", lambda e: cast(CalibrationType, e.one_of(get_args(CalibrationType)))),
        axis("num_bin", lambda e: _least(e, 129)),
        axis("max_num_bin", lambda e: _least(e, 258)),
        axis("max_percentile", lambda e: _within(e, 0.5, 1.0)),
        axis("per_channel", Entry.boolean),
        axis("asymmetric", Entry.boolean),
    )
    _check_used(found, ".".join(table.path))
    return found


_USED_BY = {
    "num_bin": ("kl", "hfmg"), "max_num_bin": ("kl",), "max_percentile": ("max", "percentile", "ifmr"),
}  # fmt: skip
"""The calibration types that a key belongs to."""


def _check_used(level: ActivationLevel, place: str) -> None:
    """ConfigError for a key of a calibration type that is not there."""
    for key, types in _USED_BY.items():
        if key in level.fields() and not set(types) & set(level.calibration_type):
            given = " and ".join(f"'{name}'" for name in level.calibration_type) or "not given"
            raise ConfigError(
                f"{place}.{key} belongs to calibration_type {' or '.join(repr(t) for t in types)}, "
                f"and {place}.calibration_type is {given}"
            )
    bins = max(level.num_bin, default=1024 if "kl" in level.calibration_type else 0)
    if level.max_num_bin and min(level.max_num_bin) < bins:
        raise ConfigError(
            f"{place}.max_num_bin must be at least num_bin, not {min(level.max_num_bin)} below {bins}"
        )


def _bias_correction(weight: Table) -> BiasCorrection | None:
    weight.check_keys(("bias_correction",))
    table = _table(weight, "bias_correction")
    if table is None:
        return None
    table.check_keys(("num_sample", "metric"))
    count = 1 if "num_sample" not in table else _least(table["num_sample"], 1)
    return BiasCorrection(count, _metric(table))


def _modelwise(table: Table) -> ModelwiseSearch:
    table.check_keys(("metric", "similarity"))
    similarity = 1.0 if "similarity" not in table else _within(table["similarity"], 0.0, 1.0)
    return ModelwiseSearch(_metric(table), similarity)


def _layerwise(table: Table) -> LayerwiseSearch:
    table.check_keys(("metric", "topk", "qtype"))
    topk = None if "topk" not in table else _least(table["topk"], 1)
    return LayerwiseSearch(_metric(table), topk, _qtype(table["qtype"]) if "qtype" in table else "int8")


def _metric(table: Table) -> Metric:
    entry = table.get("metric")
    return "cosine-similarity" if entry is None else cast(Metric, entry.one_of(get_args(Metric)))


def _least(entry: Entry, least: int) -> int:
    if (value := entry.integer()) < least:
        raise entry.invalid(f"at least {least}")
    return value


def _within(entry: Entry, low: float, high: float) -> float:
    if not low <= (value := entry.number()) <= high:
        raise entry.invalid(f"in [{low}, {high}]")
    return value
