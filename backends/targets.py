"""The targets by name: what each can quantize, and the pipelines that compile for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from qir.backends.ascend.rules import RULES
from qir.backends.form_names import check_form
from qir.backends.qdq.rules import RULES as QDQ_RULES
from qir.ir.errors import ConfigError, did_you_mean
from qir.passes.rules import TargetRules


@dataclass(frozen=True)
class Target:
    """Hardware to compile for. `pipelines` maps names to pipeline texts; there always is a `default`.

    `forms` are those of the fake-quant graph that it has, the usual one first. Without `has_deploy_model` the
    fake-quant graph is all that is written.
    """

    name: str
    rules: TargetRules
    pipelines: Mapping[str, str]
    forms: tuple[str, ...] = ("ascend", "qdq")
    has_deploy_model: bool = True

    def form(self, asked: str | None) -> str:
        """The form of the fake-quant graph, the usual one for None; ConfigError for one that it lacks."""
        if asked is None:
            return self.forms[0]
        check_form(asked)
        if asked not in self.forms:
            raise ConfigError(
                f"target '{self.name}' has no form '{asked}' of the fake-quant graph, only "
                f"{', '.join(self.forms)}"
            )
        return asked


_CLEAN = "infer-types,fold-constants,eliminate-identity"
_READY = f"{_CLEAN},fuse-bn,normalize-gemm,merge-duplicates,eliminate-dead,infer-types,equalize-layers"
_CLOSE = "quantize-weights,calibrate,quantize-bias"


def _amct(fused: str) -> str:
    """What AMCT does, step by step: it fuses into some ops only and calibrates with quantized weights."""
    return (
        f"{_CLEAN},fuse-bn{{ops={fused}}},normalize-gemm,eliminate-dead,infer-types,"
        "insert-quant,quantize-weights,calibrate{weights=quantized},quantize-bias"
    )


ASCEND = Target(
    name="ascend",
    rules=RULES,
    pipelines=MappingProxyType(
        {
            "default": f"{_READY},insert-quant,{_CLOSE}",
            # INT16 inputs where the target has them, INT8 elsewhere; INT4 weights likewise.
            "int16": f"{_READY},insert-quant{{precision=int16}},insert-quant,{_CLOSE}",
            "int4": f"{_READY},insert-quant{{weight-bits=4}},{_CLOSE}",
            "amct": _amct("Conv"),
            # AMCT for Caffe fuses into deconvolutions too.
            "amct-caffe": _amct("Conv,ConvTranspose"),
            # For models that are quantized already, with QuantizeLinear and DequantizeLinear.
            "qdq": f"{_CLEAN},import-qdq,fold-constants,merge-duplicates,eliminate-dead,infer-types,"
            "quantize-bias",
        }
    ),
)

QDQ = Target(
    name="qdq",
    rules=QDQ_RULES,
    pipelines=MappingProxyType(
        {
            "default": f"{_READY},insert-quant,{_CLOSE}",
            **{
                name: f"{_READY},insert-quant{{precision={name}}},insert-quant,{_CLOSE}"
                for name in ("int16", "int16-ec", "dual-int16", "float16")
            },
        }
    ),
    forms=("qdq",),
    has_deploy_model=False,
)

TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in (ASCEND, QDQ)})
"""Name -> target."""


def target_named(name: str) -> Target:
    """The target of that name; ConfigError with the nearest names otherwise."""
    found = TARGETS.get(name)
    if found is None:
        known = ", ".join(f"'{n}'" for n in TARGETS)
        raise ConfigError(f"there is no target '{name}'; known: {known}{did_you_mean(name, TARGETS)}")
    return found
