"""Closes the quants of activations from one streaming run over the calibration data.

Statistics are taken of the float graph (its exact passes have run), so that they do not depend on which
layers are quantized, with how many bits or by which method; `measurement.py` says where they come from.
`weights=quantized` takes them with weights replaced by their fake-quantized values, as AMCT does (weights of
ConvTranspose stay float there); it needs `quantize-weights` before.

Scales of float16 tensors are rounded to float16, in which the hardware computes there; `scales=float16` does
that for all of them, which is AMCT's FORCE_FP16_QUANT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.left_float import leave_in_float
from qir.passes.measurement import open_activation_quants, statistics_for
from qir.runtime.calibrators import CalibrationMethod, Percentile, method_named
from qir.runtime.scales import NO_SCALE, in_float16, is_lost
from qir.runtime.statistics import TensorStatistics

Method = Literal["ifmr", "min-max", "percentile"]


@dataclass(frozen=True)
class Calibrate(Pass):
    """Choose the scales of activations from calibration data."""

    name: ClassVar[str] = "calibrate"
    method: Method = "ifmr"
    percentile: float = 0.9999
    weights: Literal["float", "quantized"] = "float"
    scales: Literal["auto", "float16"] = "auto"

    def __post_init__(self) -> None:
        self.calibration_method()  # refuses a percentile out of range

    def run(self, graph: Graph, context: Context) -> bool:
        """Close every open activation quant; PassError without data, CalibrationError if they do not fit.

        Layers whose input is always empty, or too small for any scale, go back to float.
        """
        method = self.calibration_method()
        quants = open_activation_quants(graph)
        if not quants:
            return False
        statistics = statistics_for(graph, context, quants, self.weights)
        for node in quants:
            if node.graph is None:
                continue  # it went with its only layer
            reason = _close(node, statistics[_source(node).name], method, self.scales == "float16")
            if reason is None:
                context.rewrites.applied(self.name, node.name)
                continue
            for layer, _ in node.output.uses:
                leave_in_float(layer, reason)
                context.rewrites.refused(self.name, layer.name, reason)
        return True

    def calibration_method(self) -> CalibrationMethod:
        """The method with its options."""
        return Percentile(self.percentile) if self.method == "percentile" else method_named(self.method)


def _close(node: Node, statistics: TensorStatistics, method: CalibrationMethod, in_half: bool) -> str | None:
    """Close an open quant; or the reason why its readers must stay in float."""
    source, spec = _source(node), node.output.tensor.quant
    assert isinstance(spec, QuantSpec)
    if statistics.count == 0:
        return f"its input '{source.name}' was empty in every sample"
    try:
        params = method.close(statistics, spec)
    except CalibrationError as error:
        raise CalibrationError(f"tensor '{source.name}' (quantized as '{node.name}'): {error}") from error
    low, high = statistics.minimum, statistics.maximum
    if is_lost(params, max(-low, high)):
        return f"its input '{source.name}' is too small, within [{low:.3g}, {high:.3g}]: {NO_SCALE}"
    if params.scale and (in_half or source.tensor.dtype is DType.F16):
        params = QuantParams.of(spec, in_float16(params.scale_array()), params.zero_point)
    node.output.type = node.output.tensor.with_quant(params)
    return None


def _source(node: Node) -> Value:
    value = node.inputs[0]
    assert value is not None, f"quant '{node.name}' reads nothing; verify would have refused it"
    return value
