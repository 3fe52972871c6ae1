"""Rules on the int32 sums of a quantized layer: can they overflow?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.check.finding import Finding
from qir.backends.ascend.check.structure import DeployGraph, DeployLayer, array_of, number_of
from qir.runtime.bounds import INT32_RANGE, sum_bounds
from qir.runtime.channels import channels_first

_RANGES = {"INT4": (-8, 7), "INT8": (-128, 127), "INT16": (-32768, 32767)}


def accumulator_overflow(deploy: DeployGraph) -> Iterator[Finding]:
    """Bounds of the sums, from the weights: an error where the bias alone overflows, else a warning.

    The compiler folds the zero point into the bias, b - zero * sum(w): that must fit int32 whatever the data.
    """
    for layer in deploy.layers:
        rows = _weight_rows(layer)
        if rows is None:
            continue
        bias = array_of(layer.bias)
        if bias is not None and bias.shape != (rows.shape[0],):
            continue  # said by another rule
        zero = int(number_of(layer.quant, "offset") or 0)
        folded = (0 if bias is None else bias.astype(np.int64)) - zero * rows.sum(axis=1, dtype=np.int64)
        outside = np.flatnonzero((folded < INT32_RANGE[0]) | (folded > INT32_RANGE[1]))
        bound = sum_bounds(rows, bias, *_data_range(layer, zero))
        if outside.size:
            yield Finding(
                "error",
                "overflow",
                layer.node.name,
                f"its bias with the zero point folded in, b - {zero} * sum(w), is {folded[outside[0]]} in "
                f"channel {outside[0]} and does not fit int32",
                "leave the layer in float, or quantize its input symmetrically",
            )
        elif bound.max(initial=0) > INT32_RANGE[1]:
            channel = int(bound.argmax())
            yield Finding(
                "warning",
                "overflow",
                layer.node.name,
                f"the int32 sum of channel {channel} can reach {bound[channel]}, beyond {INT32_RANGE[1]}",
                "run it on real data (`qir run`), which names overflows; leave the layer in float if it does",
            )


def _weight_rows(layer: DeployLayer) -> npt.NDArray[Any] | None:
    """The weights [C, n]. Packed INT4 weights pass as bytes: their sums are far from any limit."""
    weight = array_of(layer.weight)
    if weight is None or weight.dtype != np.int8 or layer.channels is None:
        return None
    spec = layer.weight_spec
    if weight.ndim <= (spec.axis or 0) or weight.shape[0] % spec.groups:
        return None
    return channels_first(weight, spec)


def _data_range(layer: DeployLayer, zero: int) -> tuple[int, int]:
    target = layer.quant.attributes.get("dst_type", "INT8")
    low, high = _RANGES.get(target if isinstance(target, str) else "INT8", _RANGES["INT8"])
    return min(low - zero, 0), max(high - zero, 0)
