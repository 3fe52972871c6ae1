"""What a user asks of quantization: defaults, by op type, by regular expression, by layer, by operand.

Everything is optional: None means that the wider level decides, and in the end the pipeline and the target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeVar, get_args

from qir.ir.errors import ConfigError
from qir.passes.correct_bias import CorrectBias
from qir.passes.equalize_inputs import EqualizeInputs
from qir.passes.options import OptionValue
from qir.passes.search_method import SearchMethod

Precision = Literal[
    "int4", "int5", "int6", "int7", "int8", "int16", "float16", "float32", "dual-int16", "int16-ec", "ec"
]
"""How an operand is stored. Not every target has every one; what it lacks is refused when passes are made."""


def _check_precision(what: str, precision: Precision | None) -> None:
    if precision is not None and precision not in get_args(Precision):
        raise ConfigError(f"{what}: '{precision}' is none of {', '.join(get_args(Precision))}")


@dataclass(frozen=True)
class Method:
    """A calibration or weight method by name, and those of its options that are given, sorted by name."""

    name: str
    options: tuple[tuple[str, OptionValue], ...] = ()

    @staticmethod
    def of(name: str, options: Mapping[str, OptionValue]) -> Method:
        """A method with options in any order."""
        return Method(name, tuple(sorted(options.items())))


@dataclass(frozen=True)
class InputSettings:
    """How an activation is quantized: stored in what, with a zero point or not, its range by which method."""

    precision: Precision | None = None
    asymmetric: bool | None = None
    method: Method | None = None

    def __post_init__(self) -> None:
        _check_precision("activation", self.precision)


@dataclass(frozen=True)
class WeightSettings:
    """How a weight is quantized: what it is stored in, a scale per output channel or one, by which method."""

    precision: Precision | None = None
    per_channel: bool | None = None
    method: Method | None = None

    def __post_init__(self) -> None:
        _check_precision("weight", self.precision)


@dataclass(frozen=True)
class LayerSettings:
    """How a layer is quantized, or (`enabled=False`) that it is not.

    `inputs` holds for its activations, `operands` (input index -> settings) for single ones of them.
    `balance` is the migration strength of AMCT's DMQ balancer, 0.2 to 0.8.
    """

    enabled: bool | None = None
    inputs: InputSettings = InputSettings()
    weight: WeightSettings = WeightSettings()
    operands: Mapping[int, InputSettings] = field(default_factory=dict)
    balance: float | None = None

    def __post_init__(self) -> None:
        if self.balance is not None and not 0.2 <= self.balance <= 0.8:
            raise ConfigError(f"the migration strength must be in [0.2, 0.8], not {self.balance}")

    def over(self, wider: LayerSettings) -> LayerSettings:
        """These settings, completed by those of a wider level."""
        single = {i: _over(s, self.inputs) for i, s in self.operands.items()}
        keys = sorted({*single, *wider.operands})
        return LayerSettings(
            wider.enabled if self.enabled is None else self.enabled,
            _over(self.inputs, wider.inputs),
            _over(self.weight, wider.weight),
            {i: _over(single.get(i, self.inputs), wider.operands.get(i, InputSettings())) for i in keys},
            wider.balance if self.balance is None else self.balance,
        )

    def input(self, index: int) -> InputSettings:
        """The settings of one activation input."""
        return _over(self.operands.get(index, InputSettings()), self.inputs)


_Part = TypeVar("_Part", InputSettings, WeightSettings)


def _over(finer: _Part, wider: _Part) -> _Part:
    given = {f.name: getattr(finer, f.name) for f in fields(finer)}
    return replace(wider, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class QuantConfig:
    """Settings for a whole model.

        QuantConfig(
            default=LayerSettings(inputs=InputSettings(method=Method("mse"))),
            patterns={"^stem": LayerSettings(inputs=InputSettings("int16"))},
            types={"Gemm": LayerSettings(inputs=InputSettings(asymmetric=False))},
            skip_layers=("head",),
        )

    `layers` (names) win over `patterns` (regular expressions searched in names; of several that match, a
    later one wins) over `types` (op types) over `default`. Skipped layers stay in float whatever else is
    said. `tensors` are inputs of layers that compute in float, as `pool1:0`, which travel as integers.
    `fusion` and `skip_fusion_layers` say what absorbs a BatchNormalization. `batch_num` is how many feeds of
    calibration data there must be at least. `float16_scales` rounds scales of activations to float16.
    `outputs` is what the model is to return. With `nearest`, a precision that the target does not have, or
    not in a layer, is the nearest lower one there, also where the layer is named; without, a ConfigError.
    `search` chooses methods where no level has one, `equalization` equalizes channels of inputs, and
    `bias_correction` corrects biases.
    """

    default: LayerSettings = LayerSettings()
    types: Mapping[str, LayerSettings] = field(default_factory=dict)
    patterns: Mapping[str, LayerSettings] = field(default_factory=dict)
    layers: Mapping[str, LayerSettings] = field(default_factory=dict)
    skip_layers: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()
    skip_patterns: tuple[str, ...] = ()
    tensors: Mapping[str, InputSettings] = field(default_factory=dict)
    fusion: bool = True
    skip_fusion_layers: tuple[str, ...] = ()
    batch_num: int | None = None
    float16_scales: bool = False
    outputs: Precision | None = None
    nearest: bool = False
    search: SearchMethod | None = None
    equalization: EqualizeInputs | None = None
    bias_correction: CorrectBias | None = None

    def __post_init__(self) -> None:
        for pattern in (*self.patterns, *self.skip_patterns):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"'{pattern}' is not a regular expression: {error}") from error
        if self.batch_num is not None and self.batch_num < 1:
            raise ConfigError(f"batch_num must be at least 1, not {self.batch_num}")
