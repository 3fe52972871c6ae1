"""What a layer gets of what was asked: as the target has it, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

from qir.config.layers import Layer, Model
from qir.config.resolve import resolve
from qir.config.settings import InputSettings, LayerSettings, Method, Precision, QuantConfig
from qir.ir.errors import ConfigError
from qir.passes.insertion.outputs import OutputPrecision
from qir.passes.insertion.specs import Choice
from qir.passes.rules import LAYER_PRECISIONS, LayerPrecision, OperandRule, Stored, TargetRules

WeightBits = Literal[4, 5, 6, 7, 8]
_NARROW: Mapping[Stored, WeightBits] = MappingProxyType({"int4": 4, "int5": 5, "int6": 6, "int7": 7})
_LOWER: Mapping[Stored, Stored] = MappingProxyType({"float16": "int16"})
"""What is tried in the place of a precision that an operand cannot have; INT8 otherwise, and in the end."""

NOT_YET = ("ada_quantize", "nuq_quantize")
"""Weight methods that configurations may name and that do not exist here yet."""


@dataclass(frozen=True)
class Form:
    """Options of insert-quant for one layer; None is what the pipeline says."""

    precision: LayerPrecision | None = None
    weight_bits: WeightBits | None = None
    operands: tuple[str, ...] = ()
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
    wanted = _wanted(layer, asked)
    if asked.enabled is False or _stays_float(layer, wanted, model):
        return Grant(layer, asked, enabled=False)
    _check_weight_method(layer, asked.weight.method)
    if model.target.rules.whole_layers and "float16" in wanted.values():
        wanted = dict.fromkeys(layer.operands, "float16")
    granted = {o: _granted(layer, o, stored, reasons, model) for o, stored in wanted.items()}
    form = _form(
        layer,
        granted,
        asked.inputs.precision,
        _asymmetric(layer, asked.input(0).asymmetric, reasons),
        _per_channel(layer, asked.weight.per_channel, reasons),
    )
    weights = asked.weight.method if layer.has_weight else None
    balance = asked.balance if layer.has_weight else None
    return Grant(layer, asked, True, form, asked.input(0).method, weights, balance, tuple(reasons.found))


def requested(layer: Layer, asked: LayerSettings, operand: OperandRule) -> Precision | None:
    """What is asked of an operand: by its own name, or of the whole layer."""
    single = asked.operands.get(operand.index)
    if single is not None and single.precision is not None:
        return single.precision
    return asked.weight.precision if operand.index == layer.weight_index else asked.inputs.precision


def meaning(layer: Layer, operand: OperandRule, precision: Precision) -> Stored:
    """What a precision of the whole layer is for one of its operands."""
    if precision in LAYER_PRECISIONS:
        first, others = LAYER_PRECISIONS[cast(LayerPrecision, precision)]
        return first if operand is layer.operands[0] else others
    return cast(Stored, precision)


def _wanted(layer: Layer, asked: LayerSettings) -> dict[OperandRule, Stored]:
    """How the operands are to be stored of which something is asked."""
    found: dict[OperandRule, Stored] = {}
    for operand in layer.operands:
        precision = requested(layer, asked, operand)
        single = asked.operands.get(operand.index, InputSettings()).precision
        if single is not None and single != "dual-int16" and single != "int16-ec":
            found[operand] = single
        elif precision is not None:
            found[operand] = meaning(layer, operand, precision)
    return found


def _stays_float(layer: Layer, wanted: Mapping[OperandRule, Stored], model: Model) -> bool:
    """Whether nothing of the layer is to be rounded, or it computes in what is asked as it is."""
    stored = set(wanted.values())
    if layer.float_type == "float16" and "float16" in stored:
        return True
    if model.target.rules.whole_layers:
        return "float32" in stored
    return stored == {"float32"} and len(wanted) == len(layer.operands)


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


def _granted(layer: Layer, operand: OperandRule, asked: Stored, reasons: _Reasons, model: Model) -> Stored:
    """What an operand gets: what is asked, or the nearest lower precision that it can have."""
    refuse = layer.rule.refuse_precision
    why = refuse(layer.node, operand.role, asked)
    if why is None:
        return asked
    known = model.target.rules.precisions.get(operand.role, ())
    if not reasons.nearest and asked not in known:
        raise ConfigError(
            f"layer '{layer.name}': {operand.role} precision {asked} is not available on target "
            f"'{model.target.name}', only {', '.join(known)}"
        )
    if asked in _NARROW and asked in known:
        # Not an error for a layer that is named either: AMCT stores INT8 there as well.
        reasons.note(operand.index, f"{asked.upper()} weights were asked for, but {why}")
        return "int8"
    what = "input was" if operand.role == "activation" else "weight was"
    article = "an" if asked[0] in "ei" else "a"
    shown = asked.upper() if asked.startswith("int") else asked
    reasons.add(operand.index, f"{article} {shown} {what} asked for, but {why}")
    lower = _LOWER.get(asked)
    return lower if lower is not None and refuse(layer.node, operand.role, lower) is None else "int8"


def _form(
    layer: Layer,
    granted: Mapping[OperandRule, Stored],
    asked: Precision | None,
    asymmetric: Choice | None,
    per_channel: Choice | None,
) -> Form:
    """Options of insert-quant that store the operands so, in the words of what was asked if these will do."""
    weight = next((s for o, s in granted.items() if o.index == layer.weight_index), None)
    bits = _NARROW.get(weight, 8 if weight == "int8" else None) if weight is not None else None
    stored = {o: "int8" if s in _NARROW else s for o, s in granted.items()}
    first = stored.get(layer.operands[0])
    names = [name for name, (own, _) in LAYER_PRECISIONS.items() if own == first]
    if first is None or (bits == 8 and first == "int8"):
        names = ["int8"]
    for name in sorted(names, key=lambda name: name != asked):
        if all(meaning(layer, o, name) == s for o, s in stored.items()):
            return Form(None if first is None else name, bits, (), asymmetric, per_channel)
    base = names[0] if names else "int8"
    other = tuple(f"{o.index}:{s}" for o, s in stored.items() if meaning(layer, o, base) != s)
    return Form(None if first is None else base, bits, other, asymmetric, per_channel)


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


def output_precision(config: QuantConfig, rules: TargetRules) -> OutputPrecision:
    """What the outputs of the model are rounded to: as asked where the target does that."""
    if config.outputs in ("int8", "int16", "float16") and config.outputs in rules.outputs:
        return config.outputs
    return "float32"
