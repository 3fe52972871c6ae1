"""What a layer gets of what was asked: as the target has it, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from qir.config.layers import Layer, Model
from qir.config.resolve import is_enabled, resolve
from qir.config.settings import LayerSettings, Method, Precision, QuantConfig
from qir.ir.errors import ConfigError
from qir.passes.insertion.specs import Choice

InputBits = Literal[8, 16]
WeightBits = Literal[4, 5, 6, 7, 8]
_INPUT_BITS: Mapping[str, InputBits] = {"int8": 8, "int16": 16}
_WEIGHT_BITS: Mapping[str, WeightBits] = {"int4": 4, "int5": 5, "int6": 6, "int7": 7, "int8": 8}

_NEAREST: Mapping[str, str] = {"float16": "int16", "dual-int16": "int16", "int16-ec": "int16"}
"""What comes nearest to a precision of inputs that no target has; INT8 otherwise."""

NOT_YET = ("ada_quantize", "nuq_quantize")
"""Weight methods that configurations may name and that do not exist here yet."""


@dataclass(frozen=True)
class Form:
    """Options of insert-quant for one layer; None is what the pipeline says."""

    bits: InputBits | None = None
    weight_bits: WeightBits | None = None
    asymmetric: Choice | None = None
    per_channel: Choice | None = None


class Shortfall(NamedTuple):
    """Why an operand, by its input index, does not get what was asked."""

    operand: int
    reason: str


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
    shortfalls: tuple[Shortfall, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not get what was asked, sentence by sentence."""
        return tuple(reason for _, reason in self.shortfalls)


def grants(config: QuantConfig, model: Model) -> dict[str, Grant]:
    """The resolved table, in running order.

    ConfigError for what no layer of the target can have, for what a layer named in `config.layers` cannot
    have, and for methods that do not exist. What a wider level asks of a layer that cannot have it becomes
    INT8, a reason in the table; so does everything with `config.nearest`.
    """
    found = resolve(config, model)
    return {
        name: _grant(
            model.layers[name],
            settings,
            _Reasons(model.layers[name], name in config.layers, config.nearest),
            model,
        )
        for name, settings in found.items()
    }


def _grant(layer: Layer, asked: LayerSettings, reasons: _Reasons, model: Model) -> Grant:
    if not is_enabled(asked) or _is_half(layer, asked):
        return Grant(layer, asked, enabled=False)
    _check_weight_method(layer, asked.weight.method)
    form = Form(
        _bits(layer, asked.input(0).precision, reasons, model),
        _weight_bits(layer, asked.weight.precision, reasons, model),
        _asymmetric(layer, asked.input(0).asymmetric, reasons),
        _per_channel(layer, asked.weight.per_channel, reasons),
    )
    weights = asked.weight.method if layer.has_weight else None
    balance = asked.balance if layer.has_weight else None
    return Grant(layer, asked, True, form, asked.input(0).method, weights, balance, tuple(reasons.found))


def _is_half(layer: Layer, asked: LayerSettings) -> bool:
    """True when float16 is asked of a layer that computes in it as it is."""
    return layer.float_type == "float16" and "float16" in (asked.input(0).precision, asked.weight.precision)


class _Reasons:
    """Collects why a layer does not get what a wider level asks.

    What its own name asks must be possible, unless the `nearest` that is will do.
    """

    def __init__(self, layer: Layer, is_named: bool, nearest: bool) -> None:
        self._layer, self._is_strict = layer, is_named and not nearest
        self.nearest = nearest
        self.found: list[Shortfall] = []

    def add(self, operand: int, reason: str) -> None:
        if self._is_strict:
            raise ConfigError(f"layer '{self._layer.name}': {reason}")
        self.note(operand, reason)

    def note(self, operand: int, reason: str) -> None:
        """What is no error for a layer that is named either."""
        self.found.append(Shortfall(operand, reason))


def _bits(layer: Layer, asked: Precision | None, reasons: _Reasons, model: Model) -> InputBits | None:
    if asked is None:
        return None
    nearest = asked if asked in _INPUT_BITS else _NEAREST.get(asked, "int8")
    if nearest != asked:
        if not reasons.nearest:
            raise _unavailable(layer, "activation", asked, _INPUT_BITS, model)
        if (
            asked != "int16-ec"
        ):  # it means INT16 where there is INT16: only what is left in INT8 is compensated
            reasons.add(0, f"target '{model.target.name}' has no {asked} inputs, only int8 and int16")
    if nearest == "int16" and not layer.takes_int16:
        refuse = layer.rule.refuse_int16
        why = f"there is no INT16 form of {layer.op}" if refuse is None else refuse(layer.node)
        reasons.add(0, f"an INT16 input was asked for, but {why}")
        return 8
    return _INPUT_BITS[nearest]


def _weight_bits(layer: Layer, asked: Precision | None, reasons: _Reasons, model: Model) -> WeightBits | None:
    if asked is None or not layer.has_weight:
        return None
    known = {name: bits for name, bits in _WEIGHT_BITS.items() if bits in model.target.rules.weight_bits}
    index = layer.weight_index
    assert index is not None
    if asked not in known and reasons.nearest:
        names = ", ".join(known)
        reasons.add(index, f"target '{model.target.name}' has no {asked} weights, only {names}")
        return 8
    if asked not in known:
        raise _unavailable(layer, "weight", asked, known, model)
    why = layer.lacks_weight_bits(known[asked])
    if why is None:
        return known[asked]
    # Not an error for a layer that is named either: AMCT stores INT8 there as well.
    reasons.note(index, f"{asked.upper()} weights were asked for, but {why}")
    return 8


def _unavailable(layer: Layer, what: str, asked: str, known: Mapping[str, int], model: Model) -> ConfigError:
    return ConfigError(
        f"layer '{layer.name}': {what} precision {asked} is not available yet on target "
        f"'{model.target.name}', only {', '.join(known)} and float32 for the whole layer"
    )


def _asymmetric(layer: Layer, asked: bool | None, reasons: _Reasons) -> Choice | None:
    if asked and layer.symmetric_only:
        reasons.add(0, f"an asymmetric input was asked for, but this {layer.op} takes symmetric ones only")
    # Where the rules have a zero point, true is what they say; where they have none, so is false.
    return None if asked is None else "auto" if asked or layer.symmetric_only else "false"


def _per_channel(layer: Layer, asked: bool | None, reasons: _Reasons) -> Choice | None:
    if asked and layer.has_weight and not layer.per_channel:
        why = f"weight scales per channel were asked for, but {layer.op} has one for the whole weight"
        reasons.add(layer.weight_index or 0, why)
    return None if asked is None else "auto" if asked or not layer.per_channel else "false"


def _check_weight_method(layer: Layer, method: Method | None) -> None:
    if method is not None and method.name in NOT_YET and layer.has_weight:
        raise ConfigError(
            f"layer '{layer.name}': weight_quant_params.wts_algo '{method.name}' is not available yet; "
            "use 'arq_quantize'"
        )
