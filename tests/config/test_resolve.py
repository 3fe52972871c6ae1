"""Settings of a layer: its name over expressions over its type over the default, in every part."""

from __future__ import annotations

from dataclasses import fields

import pytest
from amct_models import layers
from hypothesis import given
from hypothesis import strategies as st

from qir.config.grants import grants
from qir.config.resolve import resolve
from qir.config.settings import InputSettings, LayerSettings, Method, QuantConfig, WeightSettings
from qir.ir.errors import ConfigError

METHODS = st.sampled_from([None, Method("ifmr"), Method("kl"), Method.of("mse", {"step": 0.1})])
FLAGS = st.sampled_from([None, True, False])
PRECISIONS = st.sampled_from([None, "int8", "int16", "float32"])
INPUTS = st.builds(InputSettings, PRECISIONS, FLAGS, METHODS)
SETTINGS = st.builds(
    LayerSettings,
    FLAGS,
    INPUTS,
    st.builds(WeightSettings, PRECISIONS, FLAGS, METHODS),
    st.dictionaries(st.integers(0, 2), INPUTS, max_size=2),
    st.sampled_from([None, 0.2, 0.5]),
)


def first(*found: object) -> object:
    return next((x for x in found if x is not None), None)


@given(SETTINGS, SETTINGS, SETTINGS, SETTINGS, SETTINGS)
def test_the_finest_level_that_speaks_decides(
    default: LayerSettings, kind: LayerSettings, early: LayerSettings, late: LayerSettings, own: LayerSettings
) -> None:
    config = QuantConfig(default, {"Conv": kind}, {"^c": early, "v$": late}, {"conv": own})
    found = resolve(config, layers())["conv"]
    levels = (own, late, early, kind, default)
    assert found.enabled == first(*(level.enabled for level in levels))
    assert found.balance == first(*(level.balance for level in levels))
    for part in ("inputs", "weight"):
        for item in fields(getattr(found, part)):
            asked = [getattr(getattr(level, part), item.name) for level in levels]
            assert getattr(getattr(found, part), item.name) == first(*asked)


@given(SETTINGS, SETTINGS, st.integers(0, 2))
def test_at_one_level_an_operand_wins_over_all_inputs(
    own: LayerSettings, kind: LayerSettings, index: int
) -> None:
    config = QuantConfig(types={"Conv": kind}, layers={"conv": own})
    found = resolve(config, layers())["conv"].input(index)
    for item in fields(found):
        asked = (own.operands.get(index), own.inputs, kind.operands.get(index), kind.inputs)
        values = [None if s is None else getattr(s, item.name) for s in asked]
        assert getattr(found, item.name) == first(*values)


def test_names_of_types_of_both_worlds() -> None:
    wide = LayerSettings(inputs=InputSettings("int16"))
    for kind, names in (("Linear", ["fc", "mm"]), ("Conv2d", ["conv"]), ("Conv", ["conv", "volume"])):
        found = resolve(QuantConfig(types={kind: wide}), layers())
        assert [n for n, s in found.items() if s.inputs.precision == "int16"] == names


def test_skipping_wins_over_everything() -> None:
    on = LayerSettings(enabled=True)
    config = QuantConfig(layers={"conv": on, "fc": on}, skip_layers=("conv",), skip_patterns=("^fc$",))
    assert [n for n, s in resolve(config, layers()).items() if s.enabled is False] == ["conv", "fc"]


def test_the_table_says_what_was_not_granted_and_why() -> None:
    config = QuantConfig(LayerSettings(inputs=InputSettings("int16"), weight=WeightSettings("int6")))
    table = grants(config, layers())
    form = table["conv"].form
    assert (form.precision, form.weight_bits, table["conv"].reasons) == ("int16", 6, ())
    assert (table["mm"].form.precision, table["mm"].form.weight_bits) == ("int8", 8)
    assert [reason.split(",")[0] for reason in table["mm"].reasons] == [
        "an INT16 input was asked for",
        "INT6 weights were asked for",
    ]
    assert table["mm"].requested.inputs.precision == "int16"


def test_float32_leaves_a_layer_in_float() -> None:
    table = grants(QuantConfig(layers={"fc": LayerSettings(inputs=InputSettings("float32"))}), layers())
    assert [name for name, grant in table.items() if not grant.enabled] == ["fc"]


def test_settings_that_nobody_has() -> None:
    with pytest.raises(ConfigError, match="'int3' is none of int4"):
        InputSettings("int3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"the migration strength must be in \[0.2, 0.8\], not 0.9"):
        LayerSettings(balance=0.9)
    with pytest.raises(ConfigError, match=r"'\(' is not a regular expression"):
        QuantConfig(patterns={"(": LayerSettings()})
    with pytest.raises(ConfigError, match="batch_num must be at least 1, not 0"):
        QuantConfig(batch_num=0)
