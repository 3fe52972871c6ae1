"""Turns a configuration into the passes of a pipeline: layers with equal settings share a pass.

    insert-quant{precision=int16 layers=stem},insert-quant{skip=head},quantize-weights,calibrate{method=kl}

Of several passes in a row the first that takes a layer wins; the largest group needs no list of names, for it
takes what the others leave.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from qir.config.grants import Form, Grant, grants, output_precision
from qir.config.layers import Model, exact_passes
from qir.config.method_text import method_text
from qir.config.settings import InputSettings, Method, QuantConfig
from qir.ir.errors import ConfigError, ParseError
from qir.passes.balance_channels import BalanceChannels
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.correct_bias import CorrectBias
from qir.passes.fuse_bn import FuseBn
from qir.passes.insert_quant import InsertQuant
from qir.passes.insertion.selection import SkipList
from qir.passes.pipeline import parse_pipeline
from qir.passes.quantize_bias import QuantizeBias
from qir.passes.quantize_weights import QuantizeWeights
from qir.passes.search_method import SearchMethod

P = TypeVar("P", InsertQuant, QuantizeWeights, Calibrate)


def preparing_passes(config: QuantConfig, base: Iterable[Pass]) -> tuple[Pass, ...]:
    """The exact passes of a pipeline as the configuration wants them: what is fused, and what is not."""
    found: list[Pass] = []
    for item in exact_passes(base):
        if not isinstance(item, FuseBn):
            found.append(item)
        elif config.fusion:
            found.append(replace(item, skip=(*item.skip, *config.skip_fusion_layers)))
    return tuple(found)


def quantizing_passes(config: QuantConfig, model: Model, base: Sequence[Pass]) -> tuple[Pass, ...]:
    """The passes behind the exact ones, for a model on which those have run.

    ConfigError for what the model, the target or the pipeline cannot have.
    """
    table = grants(config, model)
    rest = base[len(exact_passes(base)) :]
    given = [p for p in rest if isinstance(p, InsertQuant)]
    enabled = {n: grant for n, grant in table.items() if grant.enabled and not _is_skipped(grant, given)}
    if not enabled and not config.tensors:
        raise ConfigError("the configuration leaves every layer in float; there is nothing to quantize")
    disabled = tuple(name for name, grant in table.items() if not grant.enabled)
    made: dict[type[Pass], tuple[Pass, ...]] = {
        InsertQuant: _inserts(given, enabled, disabled, config, model),
        QuantizeWeights: _weights([p for p in rest if isinstance(p, QuantizeWeights)], enabled, model),
        Calibrate: _calibrations([p for p in rest if isinstance(p, Calibrate)], enabled, config, model),
    }
    if config.search is not None:
        made = _searched(made, config.search)
    found: list[Pass] = list(_balances(enabled))
    if config.equalization is not None:
        found.append(config.equalization)
    if config.bias_correction is not None:
        rest = _with_correction(rest, config.bias_correction)
    for item in rest:
        if not isinstance(item, (InsertQuant, QuantizeWeights, Calibrate)):
            found.append(item)
        else:
            found += made.pop(type(item), ())
    return tuple(found)


def _searched(
    made: Mapping[type[Pass], tuple[Pass, ...]], search: SearchMethod
) -> dict[type[Pass], tuple[Pass, ...]]:
    """The passes with a search in the place of those that close whatever has no method of its own."""
    if not made[Calibrate]:
        raise ConfigError("the pipeline has no calibrate, in whose place a search of methods could stand")
    found = dict(made)
    found[QuantizeWeights] = made[QuantizeWeights][:-1]
    found[Calibrate] = (*made[Calibrate][:-1], search)
    return found


def _with_correction(rest: Sequence[Pass], correction: CorrectBias) -> Sequence[Pass]:
    """The passes with the correction of biases in front of quantize-bias."""
    place = next((i for i, item in enumerate(rest) if isinstance(item, QuantizeBias)), None)
    if place is None:
        raise ConfigError("the pipeline has no quantize-bias, so there are no biases to correct")
    return (*rest[:place], correction, *rest[place:])


def _is_skipped(grant: Grant, inserts: Sequence[InsertQuant]) -> bool:
    """True when the pipeline itself leaves the layer in float."""
    lists = (SkipList(p.skip, p.skip_types, p.skip_regex) for p in inserts)
    return bool(inserts) and all(skip.skipped(grant.layer.node) is not None for skip in lists)


def _inserts(
    base: Sequence[InsertQuant],
    enabled: Mapping[str, Grant],
    disabled: tuple[str, ...],
    config: QuantConfig,
    model: Model,
) -> tuple[Pass, ...]:
    """The insert-quants: one for each form that layers have."""
    if not base:
        raise ConfigError("the pipeline has no insert-quant, so a configuration has nothing to say in it")
    start = _catch_all(base) or InsertQuant()
    forms = {name: _insert(grant.form, start) for name, grant in enabled.items()}
    first, last = _grouped(base, {n: None if f == start else f for n, f in forms.items()}, model)
    plain, symmetric = _tensors(config.tensors, model)
    last = [replace(item, skip=(*item.skip, *disabled)) for item in last]
    last[-1] = replace(
        last[-1],
        tensors=(*last[-1].tensors, *plain),
        symmetric_tensors=(*last[-1].symmetric_tensors, *symmetric),
        outputs=output_precision(config, model.target.rules) if config.outputs else last[-1].outputs,
    )
    return (*first, *last)


def _insert(form: Form, base: InsertQuant) -> InsertQuant:
    """The pass for a form; what it leaves open is as in the pipeline."""
    return replace(
        base,
        precision=form.precision or base.precision,
        weight_bits=form.weight_bits or base.weight_bits,
        operands=form.operands or base.operands,
        asymmetric=form.asymmetric or base.asymmetric,
        per_channel=form.per_channel or base.per_channel,
    )


def _tensors(tensors: Mapping[str, InputSettings], model: Model) -> tuple[list[str], list[str]]:
    """Inputs that travel as integers, with a zero point and without."""
    plain: list[str] = []
    symmetric: list[str] = []
    for name, settings in tensors.items():
        if settings.precision not in (None, "int8"):
            raise ConfigError(
                f"tensor '{name}': precision {settings.precision} is not available on target "
                f"'{model.target.name}', only int8"
            )
        (symmetric if settings.asymmetric is False else plain).append(name)
    return plain, symmetric


def _balances(enabled: Mapping[str, Grant]) -> Iterator[Pass]:
    """The balance-channels: one for each migration strength."""
    asked: dict[float, list[str]] = {}
    for name, grant in enabled.items():
        if grant.balance is not None:
            asked.setdefault(grant.balance, []).append(name)
    for strength, names in asked.items():
        yield BalanceChannels(strength, layers=tuple(names))


def _weights(base: Sequence[QuantizeWeights], enabled: Mapping[str, Grant], model: Model) -> tuple[Pass, ...]:
    """The quantize-weights: one for each method."""
    asked = {name: grant.weights for name, grant in enabled.items() if grant.layer.has_weight}
    items = {
        name: None if method is None else _quantize_weights(name, method) for name, method in asked.items()
    }
    first, last = _grouped(base, items, model)
    return (*first, *last)


def _quantize_weights(layer: str, method: Method) -> QuantizeWeights:
    item = _parsed(layer, f"{QuantizeWeights.name}{{{method_text(method)}}}")
    assert isinstance(item, QuantizeWeights)
    return item


def _calibrations(
    base: Sequence[Calibrate], enabled: Mapping[str, Grant], config: QuantConfig, model: Model
) -> tuple[Pass, ...]:
    """The calibrates: one for each method."""
    start = _catch_all(base) or Calibrate()
    asked = {name: grant.calibration for name, grant in enabled.items()}
    items = {name: None if m is None else _calibrate(name, m, start) for name, m in asked.items()}
    first, last = _grouped(base, items, model)
    tensors: dict[Calibrate, list[str]] = {}
    for tensor, settings in config.tensors.items():
        item = start if settings.method is None else _calibrate(tensor, settings.method, start)
        if item not in last:
            tensors.setdefault(item, []).append(f"^{re.escape(tensor.rpartition(':')[0])}$")
    # These nodes compute in float, so they are no layers that options `layers` and `ops` know.
    apart = [replace(item, regex=tuple(patterns)) for item, patterns in tensors.items()]
    found = [*first, *apart, *last]
    return tuple(replace(item, scales="float16") if config.float16_scales else item for item in found)


def _calibrate(layer: str, method: Method, base: Calibrate) -> Calibrate:
    item = _parsed(layer, f"{Calibrate.name}{{{method_text(method)}}}")
    assert isinstance(item, Calibrate)
    return replace(base, method=item.method)


def _parsed(layer: str, text: str) -> Pass:
    try:
        (item,) = parse_pipeline(text)
    except ParseError as error:
        raise ConfigError(f"layer '{layer}': {error}") from error
    return item


def _catch_all(base: Sequence[P]) -> P | None:
    """The only pass of its kind, when it takes all layers."""
    if len(base) != 1 or base[0].layers or base[0].ops or base[0].regex:
        return None
    return base[0]


def _grouped(base: Sequence[P], items: Mapping[str, P | None], model: Model) -> tuple[list[P], list[P]]:
    """Passes for some layers, and those behind that take the rest; None: what the pipeline does."""
    whole = _catch_all(base)
    groups: dict[P, list[str]] = {}
    for name, item in items.items():
        chosen = whole if item is None else item
        if chosen is not None:
            groups.setdefault(chosen, []).append(name)
    if not base and groups:
        raise ConfigError(
            f"the pipeline has no {next(iter(groups)).name}, but the configuration asks for one"
        )
    if whole is None:
        return [_select(item, names, model) for item, names in groups.items()], list(base)
    largest = max(groups, key=lambda item: len(groups[item]), default=whole)
    groups.pop(largest, None)
    return [_select(item, names, model) for item, names in groups.items()], [largest]


def _select(item: P, names: Sequence[str], model: Model) -> P:
    """The pass for some layers: by op type where those are all layers of their types."""
    ops = tuple(dict.fromkeys(model.layers[name].op for name in names))
    if set(names) == {name for name, layer in model.layers.items() if layer.op in ops}:
        return replace(item, ops=ops)
    return replace(item, layers=tuple(names))
