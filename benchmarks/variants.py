"""How qir can quantize: calibration method of activations, method of weight scales, form of the result."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from qir.backends.targets import ASCEND
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.pipeline import parse_pipeline, print_pipeline
from qir.passes.quantize_weights import QuantizeWeights
from qir.runtime.calibration import METHODS, method_named

WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "arq": "quantize-weights",
        "mse": "quantize-weights{method=mse}",
        "kl": "quantize-weights{method=kl}",
        # mse where one scale serves the whole matrix, arq where each channel has its own.
        "mixed": "quantize-weights{method=mse ops=Gemm,MatMul},quantize-weights",
    }
)
FORMS = ("ascend", "qdq")


@dataclass(frozen=True)
class Variant:
    """Written as `activations+weights`, with `@qdq` behind it for that form of the fake-quant graph."""

    activations: str
    weights: str
    form: str = "ascend"

    def __str__(self) -> str:
        return f"{self.activations}+{self.weights}" + ("" if self.form == "ascend" else f"@{self.form}")

    @property
    def pipeline(self) -> str:
        """The default pipeline with these methods instead of its own."""
        return print_pipeline(self._passes())

    def _passes(self) -> Iterator[Pass]:
        weights = parse_pipeline(WEIGHTS[self.weights])
        for item in _default():
            if isinstance(item, QuantizeWeights):
                yield from weights
                weights = ()  # the first one stands for all
            elif isinstance(item, Calibrate):
                yield replace(item, method=method_named(self.activations))
            else:
                yield item


def _default() -> tuple[Pass, ...]:
    return parse_pipeline("default", named=ASCEND.pipelines)


def default_variant(form: str = "ascend") -> Variant:
    """What the default pipeline does."""
    passes = _default()
    found = tuple(item for item in passes if isinstance(item, QuantizeWeights))
    weights = next(name for name, text in WEIGHTS.items() if parse_pipeline(text) == found)
    activations = next(item.method for item in passes if isinstance(item, Calibrate))
    return Variant(METHODS.name_of(activations), weights, form)


def all_variants() -> tuple[Variant, ...]:
    """The default in both forms, and what differs from it in one of its two methods."""
    default = default_variant()
    methods = [replace(default, activations=name) for name in METHODS]
    weights = [replace(default, weights=name) for name in WEIGHTS]
    return tuple(dict.fromkeys((default, default_variant("qdq"), *methods, *weights)))


def variants(text: str) -> tuple[Variant, ...]:
    """The variants of a comma-separated text; leaves the program for one that there is none of."""
    return tuple(_variant(part.strip()) for part in text.split(","))


def _variant(text: str) -> Variant:
    methods, _, form = text.partition("@")
    activations, _, weights = methods.partition("+")
    found = Variant(activations, weights or default_variant().weights, form or "ascend")
    if found.activations not in METHODS or found.weights not in WEIGHTS or found.form not in FORMS:
        sys.exit(
            f"no variant '{text}'; known: {', '.join(METHODS)}, with +{', +'.join(WEIGHTS)} for weights, "
            f"and @{', @'.join(FORMS)}"
        )
    return found
