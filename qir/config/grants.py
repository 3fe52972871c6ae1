"""What a layer gets of what was asked: as the target has it, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qir.config.layers import Layer, Model
from qir.config.resolve import is_enabled, resolve
from qir.config.settings import LayerSettings, Method, Precision, QuantConfig
from qir.ir.errors import ConfigError
from qir.passes.insertion.specs import Choice

InputBits = Literal[8, 16]
WeightBits = Literal[4, 5, 6, 7, 8]
_INPUT_BITS: Mapping[str, InputBits] = {"int8": 8, "int16": 16}
_WEIGHT_BITS: Mapping[str, WeightBits] = {"int4": 4, "int5": 5, "int6": 6, "int7": 7, "int8": 8}

NOT_YET = ("ada_quantize", "nuq_quantize")
"""Weight methods that configurations may name and that do not exist here yet."""


@dataclass(frozen=True)
class Form:
    """Options of insert-quant for one layer; None is what the pipeline says."""

    bits: InputBits | None = None
    weight_bits: WeightBits | None = None
    asymmetric: Choice | None = None
    per_channel: Choice | None = None


@dataclass(frozen=True)
class Grant:
    """One row of the resolved table: what was asked of a layer, what it gets, and reasons for differences."""

    layer: Layer
    requested: LayerSettings
    enabled: bool
    form: Form = Form()
    calibration: Method | None = None
    weights: Method | None = None
    balance: float | None = None
    reasons: tuple[str, ...] = ()


def grants(config: QuantConfig, model: Model) -> dict[str, Grant]:
    """The resolved table, in running order.

    ConfigError for what no layer of the target can have, for what a layer named in `config.layers` cannot
    have, and for methods that do not exist. What a wider level asks of a layer that cannot have it becomes
    INT8, a reason in the table.
    """
    found = resolve(config, model)
    return {
        name: _grant(model.layers[name], settings, name in config.layers, model)
        for name, settings in found.items()
    }


def _grant(layer: Layer, asked: LayerSettings, is_named: bool, model: Model) -> Grant:
    if not is_enabled(asked):
        return Grant(layer, asked, enabled=False)
    _check_weight_method(layer, asked.weight.method)
    reasons = _Reasons(layer, is_named)
    form = Form(
        _bits(layer, asked.input(0).precision, reasons, model),
        _weight_bits(layer, asked.weight.precision, reasons, model),
        _asymmetric(layer, asked.input(0).asymmetric, reasons),
        _per_channel(layer, asked.weight.per_channel, reasons),
    )
    weights = asked.weight.method if layer.has_weight else None
    balance = asked.balance if layer.has_weight else None
    return Grant(layer, asked, True, form, asked.input(0).method, weights, balance, tuple(reasons.found))


class _Reasons:
    """Collects why a layer does not get what a wider level asks; what its own name asks must be possible."""

    def __init__(self, layer: Layer, is_named: bool) -> None:
        self._layer, self._is_named = layer, is_named
        self.found: list[str] = []

    def add(self, reason: str) -> None:
        if self._is_named:
            raise ConfigError(f"layer '{self._layer.name}': {reason}")
        self.found.append(reason)


def _bits(layer: Layer, asked: Precision | None, reasons: _Reasons, model: Model) -> InputBits | None:
    if asked is None:
        return None
    if asked not in _INPUT_BITS:
        raise _unavailable(layer, "activation", asked, _INPUT_BITS, model)
    if asked == "int16" and not layer.takes_int16:
        refuse = layer.rule.refuse_int16
        why = f"there is no INT16 form of {layer.op}" if refuse is None else refuse(layer.node)
        reasons.add(f"an INT16 input was asked for, but {why}")
        return 8
    return _INPUT_BITS[asked]


def _weight_bits(layer: Layer, asked: Precision | None, reasons: _Reasons, model: Model) -> WeightBits | None:
    if asked is None or not layer.has_weight:
        return None
    known = {name: bits for name, bits in _WEIGHT_BITS.items() if bits in model.target.rules.weight_bits}
    if asked not in known:
        raise _unavailable(layer, "weight", asked, known, model)
    why = layer.lacks_weight_bits(known[asked])
    if why is None:
        return known[asked]
    # Not an error for a layer that is named either: AMCT stores INT8 there as well.
    reasons.found.append(f"{asked.upper()} weights were asked for, but {why}")
    return 8


def _unavailable(layer: Layer, what: str, asked: str, known: Mapping[str, int], model: Model) -> ConfigError:
    return ConfigError(
        f"layer '{layer.name}': {what} precision {asked} is not available yet on target "
        f"'{model.target.name}', only {', '.join(known)} and float32 for the whole layer"
    )


def _asymmetric(layer: Layer, asked: bool | None, reasons: _Reasons) -> Choice | None:
    if asked and layer.symmetric_only:
        reasons.add(f"an asymmetric input was asked for, but this {layer.op} takes symmetric ones only")
    # Where the rules have a zero point, true is what they say; where they have none, so is false.
    return None if asked is None else "auto" if asked or layer.symmetric_only else "false"


def _per_channel(layer: Layer, asked: bool | None, reasons: _Reasons) -> Choice | None:
    if asked and layer.has_weight and not layer.per_channel:
        reasons.add(f"weight scales per channel were asked for, but {layer.op} has one for the whole weight")
    return None if asked is None else "auto" if asked or not layer.per_channel else "false"


def _check_weight_method(layer: Layer, method: Method | None) -> None:
    if method is not None and method.name in NOT_YET and layer.has_weight:
        raise ConfigError(
            f"layer '{layer.name}': weight_quant_params.wts_algo '{method.name}' is not available yet; "
            "use 'arq_quantize'"
        )
