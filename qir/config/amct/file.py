"""AMCT's `config.json` as typed data, and as text byte for byte as AMCT writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

PrecisionMode = Literal["DEFAULT", "FORCE_FP16_QUANT"]


@dataclass(frozen=True)
class Ifmr:
    """The options of the activation algorithm 'ifmr'."""

    max_percentile: float = 0.999999
    min_percentile: float = 0.999999
    search_range: tuple[float, float] = (0.7, 1.3)
    search_step: float = 0.01

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file, before `act_algo`."""
        return {
            "max_percentile": self.max_percentile,
            "min_percentile": self.min_percentile,
            "search_range": list(self.search_range),
            "search_step": self.search_step,
        }


@dataclass(frozen=True)
class Hfmg:
    """The options of the activation algorithm 'hfmg'."""

    num_of_bins: int = 4096


@dataclass(frozen=True)
class Activation:
    """`activation_quant_params`."""

    num_bits: int = 8
    algorithm: Ifmr | Hfmg = Ifmr()
    asymmetric: bool = True

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file."""
        if isinstance(self.algorithm, Hfmg):
            bins = self.algorithm.num_of_bins
            return {
                "num_bits": self.num_bits,
                "act_algo": "hfmg",
                "asymmetric": self.asymmetric,
                "num_of_bins": bins,
            }
        return {
            "num_bits": self.num_bits,
            **self.algorithm.fields(),
            "act_algo": "ifmr",
            "asymmetric": self.asymmetric,
        }


@dataclass(frozen=True)
class Arq:
    """The weight algorithm 'arq_quantize', which has no options of its own."""


@dataclass(frozen=True)
class Ada:
    """The options of the weight algorithm 'ada_quantize'."""

    num_iteration: int = 10000
    reg_param: float = 0.01
    beta_range: tuple[float, float] = (20.0, 2.0)
    warm_start: float = 0.2

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file, behind `wts_algo`."""
        return {
            "num_iteration": self.num_iteration,
            "reg_param": self.reg_param,
            "beta_range": list(self.beta_range),
            "warm_start": self.warm_start,
        }


@dataclass(frozen=True)
class Nuq:
    """The options of the weight algorithm 'nuq_quantize'."""

    num_steps: int = 32
    num_of_iteration: int = 0

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file, behind `wts_algo`."""
        return {"num_steps": self.num_steps, "num_of_iteration": self.num_of_iteration}


@dataclass(frozen=True)
class Weight:
    """`weight_quant_params`; layers without weight have them too, and nobody reads them."""

    num_bits: int = 8
    channel_wise: bool = True
    algorithm: Arq | Ada | Nuq = Arq()

    @property
    def name(self) -> str:
        """The value of `wts_algo`."""
        return {Arq: "arq_quantize", Ada: "ada_quantize", Nuq: "nuq_quantize"}[type(self.algorithm)]

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file."""
        found: dict[str, JsonValue] = {
            "num_bits": self.num_bits,
            "channel_wise": self.channel_wise,
            "wts_algo": self.name,
        }
        return found if isinstance(self.algorithm, Arq) else {**found, **self.algorithm.fields()}


@dataclass(frozen=True)
class AmctLayer:
    """One layer of the file."""

    quant_enable: bool = True
    activation: Activation = Activation()
    weight: Weight = Weight()
    dmq_balancer_param: float | None = None

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file."""
        found: dict[str, JsonValue] = {"quant_enable": self.quant_enable}
        if self.dmq_balancer_param is not None:
            found["dmq_balancer_param"] = self.dmq_balancer_param
        found["activation_quant_params"] = self.activation.fields()
        found["weight_quant_params"] = self.weight.fields()
        return found


@dataclass(frozen=True)
class AmctTensor:
    """One entry of `tensor_quantize`: input `input_index` of a node that computes in float."""

    layer_name: str
    input_index: int = 0
    activation: Activation = Activation()

    def fields(self) -> dict[str, JsonValue]:
        """As they stand in the file."""
        return {
            "layer_name": self.layer_name,
            "input_index": self.input_index,
            "activation_quant_params": self.activation.fields(),
        }


@dataclass(frozen=True)
class AmctConfig:
    """A whole `config.json`. `joint_quant` and `weight_offset` are None where the file has no such key."""

    batch_num: int = 1
    activation_offset: bool = True
    joint_quant: bool | None = None
    weight_offset: bool | None = None
    do_fusion: bool = True
    precision_mode: PrecisionMode = "DEFAULT"
    skip_fusion_layers: tuple[str, ...] = ()
    tensors: tuple[AmctTensor, ...] = ()
    layers: Mapping[str, AmctLayer] = field(default_factory=dict)

    def text(self) -> str:
        """The file, byte for byte as AMCT writes it: layers sorted by name, no line break at the end."""
        found: dict[str, JsonValue] = {
            "version": 1,
            "batch_num": self.batch_num,
            "activation_offset": self.activation_offset,
        }
        if self.joint_quant is not None:
            found["joint_quant"] = self.joint_quant
        if self.weight_offset is not None:
            found["weight_offset"] = self.weight_offset
        found["do_fusion"] = self.do_fusion
        if self.precision_mode != "DEFAULT":
            found["fakequant_precision_mode"] = self.precision_mode
        found["skip_fusion_layers"] = list(self.skip_fusion_layers)
        if self.tensors:
            found["tensor_quantize"] = [tensor.fields() for tensor in self.tensors]
        found |= {name: self.layers[name].fields() for name in sorted(self.layers)}
        return json.dumps(found, indent=4, separators=(",", ":"))
