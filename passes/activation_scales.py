"""Closing the quant of an activation by a calibration method, and why that may be impossible."""

from __future__ import annotations

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.node import Node, Value
from qir.ir.quants import coarse_quant, is_coarse
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.weight_scales import closed_params, quant_source
from qir.runtime.calibration import METHODS, CalibrationMethod
from qir.runtime.compensation import fine_spec, params_of_range_of, rest_params
from qir.runtime.scales import NO_SCALE, in_float16, is_lost
from qir.runtime.statistics import TensorStatistics

_LARGEST_HALF = float(np.finfo(np.float16).max)
CONSTANT_INPUT = "qir.constant_input"
"""Metadata key of a layer whose quantized input never varied in the calibration data: a sentence."""


def activation_params(
    node: Node,
    spec: QuantSpec,
    statistics: TensorStatistics,
    method: CalibrationMethod,
    *,
    float16: bool = False,
) -> QuantParams:
    """What a method chooses for a quant; CalibrationError names the tensor.

    Scales of float16 tensors, and with `float16` all, are rounded to float16. With error compensation the
    first of the two quants gets the range that the method chooses for 16 bits, and the second, once the first
    is closed, follows from that.
    """
    source, coarse = quant_source(node), coarse_quant(node)
    if coarse is not None:
        return rest_params(closed_params(coarse), spec)
    try:
        if is_coarse(node):
            fine = _params(method, statistics, fine_spec(spec))
            lost = is_lost(fine, max(-statistics.minimum, statistics.maximum))
            return QuantParams.of(spec, 1.0) if lost else params_of_range_of(fine, spec)
        params = _params(method, statistics, spec)
    except CalibrationError as error:
        raise CalibrationError(f"tensor '{source.name}' (quantized as '{node.name}'): {error}") from error
    if params.scale and (float16 or source.tensor.dtype is DType.F16):
        params = QuantParams.of(spec, in_float16(params.scale_array()), params.zero_point)
    return params


def never_filled(source: Value) -> str:
    """Why a tensor without elements has no scale."""
    return f"its input '{source.name}' was empty in every sample"


def too_small(source: Value, params: QuantParams, statistics: TensorStatistics) -> str | None:
    """Why a tensor is too small for any scale; None when it is not."""
    low, high = statistics.minimum, statistics.maximum
    if not is_lost(params, max(-low, high)):
        return None
    return f"its input '{source.name}' is too small, within [{low:.3g}, {high:.3g}]: {NO_SCALE}"


def close_activation(node: Node, params: QuantParams, statistics: TensorStatistics) -> None:
    """Give a quant its scale, and its readers a note when the tensor never varied."""
    node.output.type = node.output.tensor.with_quant(params)
    low, high = statistics.minimum, statistics.maximum
    if low == high and not is_coarse(node):
        for layer, _ in node.output.uses:
            layer.metadata[CONSTANT_INPUT] = (
                f"its input '{quant_source(node).name}' was {low:.9g} in every sample"
            )


def too_large(source: Value, spec: QuantSpec, statistics: TensorStatistics) -> str | None:
    """Why a tensor cannot be cast to float16; None when it can, or is not to be."""
    low, high = statistics.minimum, statistics.maximum
    if spec.qtype is not DType.F16 or max(-low, high) <= _LARGEST_HALF:
        return None
    return f"its input '{source.name}' leaves the range of float16: it is within [{low:.3g}, {high:.3g}]"


def _params(method: CalibrationMethod, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
    """What a method chooses; CalibrationError where one of the user's own fails or answers something else."""
    if type(method).__module__.startswith("qir."):
        return method.close(statistics, spec)
    where = f"close() of calibration method '{METHODS.name_of(method)}'"
    try:
        params: object = method.close(statistics, spec)
    except CalibrationError:
        raise
    except Exception as error:
        raise CalibrationError(f"{where} raised {type(error).__name__}: {error}") from error
    if not isinstance(params, QuantParams) or params.spec != spec:
        raise CalibrationError(
            f"{where} must return QuantParams of the spec that it was given, not {params!r}"
        )
    return params
