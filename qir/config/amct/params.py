"""Reads the parameters of one layer of a `config.json`: every key, with its range."""

from __future__ import annotations

from dataclasses import replace

from qir.config.amct.errors import AmctValueError
from qir.config.amct.file import (
    Activation,
    Ada,
    AmctLayer,
    AmctTensor,
    Arq,
    Hfmg,
    Ifmr,
    Nuq,
    Weight,
)
from qir.config.amct.values import Entry, Table

_IFMR = ("max_percentile", "min_percentile", "search_range", "search_step")
_HFMG = ("num_of_bins",)
_ADA = ("num_iteration", "reg_param", "beta_range", "warm_start")
_NUQ = ("num_steps", "num_of_iteration")
_LAYER = ("quant_enable", "dmq_balancer_param", "activation_quant_params", "weight_quant_params")
_BINS = (1024, 2048, 4096, 8192)


def read_layer(table: Table, default: AmctLayer) -> AmctLayer:
    """One layer; what the file leaves out is as in `default`."""
    table.check_keys(_LAYER)
    enable, balance = table.get("quant_enable"), table.get("dmq_balancer_param")
    activation, weight = table.get("activation_quant_params"), table.get("weight_quant_params")
    return AmctLayer(
        True if enable is None else enable.boolean(),
        default.activation if activation is None else read_activation(activation, default.activation),
        default.weight if weight is None else read_weight(weight, default.weight),
        None if balance is None else balance_strength(balance),
    )


def read_tensor(entry: Entry, default: Activation) -> AmctTensor:
    """One entry of `tensor_quantize`.

    AmctValueError for what does not belong there, or lacks a layer_name.
    """
    table = entry.table()
    table.check_keys(("layer_name", "input_index", "activation_quant_params"))
    name, index, activation = (table.get(k) for k in ("layer_name", "input_index", "activation_quant_params"))
    if name is None:
        raise AmctValueError(f"{entry.place} has no layer_name")
    return AmctTensor(
        name.string(),
        0 if index is None else index.integer(),
        default if activation is None else read_activation(activation, default),
    )


def balance_strength(entry: Entry) -> float:
    """A migration strength of the DMQ balancer."""
    found = entry.number()
    if not 0.2 <= found <= 0.8:
        raise entry.invalid("in [0.2, 0.8]")
    return found


def read_activation(entry: Entry, default: Activation) -> Activation:
    """`activation_quant_params`."""
    table = entry.table()
    table.check_keys(("num_bits", "act_algo", "asymmetric", *_IFMR, *_HFMG))
    bits, asymmetric = table.get("num_bits"), table.get("asymmetric")
    return Activation(
        default.num_bits if bits is None else bits.among((4, 8, 16)),
        _activation_algorithm(table, default.algorithm),
        default.asymmetric if asymmetric is None else asymmetric.boolean(),
    )


def _activation_algorithm(table: Table, default: Ifmr | Hfmg) -> Ifmr | Hfmg:
    ifmr, hfmg = ([key for key in table if key in keys] for keys in (_IFMR, _HFMG))
    if ifmr and hfmg:
        raise AmctValueError(f"{ifmr} and {hfmg} can not appear at same time in {'.'.join(table.path)}")
    named = table.get("act_algo")
    known = ("ifmr", "hfmg")
    given = "hfmg" if hfmg else "ifmr" if ifmr else None
    name = named.one_of(known) if named is not None else given
    if given is not None and name != given:
        raise AmctValueError(
            f"{'.'.join(table.path)}: {hfmg or ifmr} does not belong to act_algo '{name}' but to '{given}'"
        )
    if name is None:
        return default
    return _hfmg(table) if name == "hfmg" else _ifmr(table)


def _ifmr(table: Table) -> Ifmr:
    found = Ifmr(_percentile(table, "max_percentile"), _percentile(table, "min_percentile"))
    entry = table.get("search_range")
    if entry is not None:
        start, end = entry.pair()
        if not 0 < start < end:
            raise entry.invalid("two numbers with 0 < first < second")
        found = replace(found, search_range=(start, end))
    step = table.get("search_step")
    if step is not None:
        start, end = found.search_range
        found = replace(found, search_step=step.number())
        if not 0 < found.search_step <= end - start:
            raise step.invalid(f"above 0 and not above the width of search_range, {end - start:.6g}")
    return found


def _percentile(table: Table, key: str) -> float:
    entry = table.get(key)
    if entry is None:
        return 0.999999
    value = entry.number()
    if not 0.5 < value <= 1:
        raise entry.invalid("in (0.5, 1.0]")
    return value


def _hfmg(table: Table) -> Hfmg:
    bins = table.get("num_of_bins")
    return Hfmg() if bins is None else Hfmg(bins.among(_BINS))


def read_weight(entry: Entry, default: Weight) -> Weight:
    """`weight_quant_params`."""
    table = entry.table()
    table.check_keys(("num_bits", "wts_algo", "channel_wise", *_ADA, *_NUQ))
    bits, channel_wise = table.get("num_bits"), table.get("channel_wise")
    return Weight(
        default.num_bits if bits is None else bits.among((4, 6, 7, 8)),
        default.channel_wise if channel_wise is None else channel_wise.boolean(),
        _weight_algorithm(table),
    )


def _weight_algorithm(table: Table) -> Arq | Ada | Nuq:
    named = table.get("wts_algo")
    name = "arq_quantize" if named is None else named.one_of(("arq_quantize", "ada_quantize", "nuq_quantize"))
    own = {"arq_quantize": (), "ada_quantize": _ADA, "nuq_quantize": _NUQ}[name]
    for key in (*_ADA, *_NUQ):
        if key in table and key not in own:
            raise AmctValueError(f"{table[key].place} does not belong to wts_algo '{name}'")
    if name == "ada_quantize":
        return _ada(table)
    return _nuq(table) if name == "nuq_quantize" else Arq()


def _ada(table: Table) -> Ada:
    found = Ada(reg_param=_fraction(table, "reg_param", 0.01), warm_start=_fraction(table, "warm_start", 0.2))
    iterations, beta = table.get("num_iteration"), table.get("beta_range")
    if iterations is not None:
        found = replace(found, num_iteration=iterations.integer())
        if found.num_iteration < 0:
            raise iterations.invalid("0 or more")
    if beta is not None:
        start, end = beta.pair()
        if not start > end > 0:
            raise beta.invalid("two numbers with first > second > 0")
        found = replace(found, beta_range=(start, end))
    return found


def _fraction(table: Table, key: str, default: float) -> float:
    entry = table.get(key)
    if entry is None:
        return default
    value = entry.number()
    if not 0 < value < 1:
        raise entry.invalid("in (0, 1)")
    return value


def _nuq(table: Table) -> Nuq:
    steps, iterations = table.get("num_steps"), table.get("num_of_iteration")
    return Nuq(
        32 if steps is None else steps.among((16, 32)),
        0 if iterations is None else iterations.among(range(6)),
    )
