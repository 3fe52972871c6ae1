"""Simplified configurations for Caffe: their types of layers are Caffe's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from qir.compat.common.errors import CompatValueError
from qir.config.amct.definition import Definition
from qir.config.open import read_definition
from qir.ir.errors import did_you_mean

_OPS = {
    "Convolution": "Conv",
    "Deconvolution": "ConvTranspose",
    "InnerProduct": "Gemm",
    "Pooling": "AveragePool",
}
"""Caffe's types of the layers that AMCT quantizes, and the ops that they become. (A Pooling that takes the
maximum is left in float, so that its op need not be named.)"""


def caffe_definition(file: str) -> Definition:
    """The definition in a `.cfg` file, with the ops of ONNX for Caffe's types.

    CompatValueError for other types; ConfigErrors for files that cannot be read or parsed.
    """
    found = read_definition(Path(file))
    _check_types("skip_layer_types", found.skip_layer_types)
    _check_types("override_layer_types", found.types)
    return replace(
        found,
        skip_layer_types=tuple(_OPS[name] for name in found.skip_layer_types),
        types={_OPS[name]: level for name, level in found.types.items()},
    )


def _check_types(key: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in _OPS:
            raise CompatValueError(
                f"{key}: no layers of type '{name}' are quantized, only {', '.join(_OPS)}"
                f"{did_you_mean(name, _OPS)}"
            )
