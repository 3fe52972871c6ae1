"""Closes the quants of activations from one streaming run over the calibration data.

Statistics are taken of the float graph (its exact passes have run), so that they do not depend on which
layers are quantized, with how many bits or by which method; `measurement.py` says where they come from.
`weights=quantized` takes them with weights replaced by their fake-quantized values, as AMCT does (weights of
ConvTranspose stay float there); it needs `quantize-weights` before.

`method` is one of those in `qir.runtime.calibration`, whose fields are options here:
`calibrate{method=kl num-bin=512}`. `ops`, `layers` and `regex` narrow it down to the inputs of some layers;
another calibrate behind closes the others, and a quant that both kinds read is split.

With error compensation, `method` chooses the range as for INT16, and both tensors share what that resolves.

`exact` keeps all values of all tensors, so that ifmr and hfmg compute on the data what AMCT computes, and
percentiles are those of the data: memory then grows with the number of samples.

Scales of float16 tensors are rounded to float16, in which the hardware computes there; `scales=float16` does
that for all of them, which is AMCT's FORCE_FP16_QUANT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from qir.ir.errors import CalibrationError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import is_coarse, layers_reading
from qir.ir.types import QuantSpec
from qir.passes.activation_scales import (
    activation_params,
    close_activation,
    never_filled,
    too_large,
    too_small,
)
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.selection import Selection, check_layers, check_ops, check_patterns
from qir.passes.left_float import leave_in_float
from qir.passes.measurement import open_activation_quants, statistics_for
from qir.passes.selected_quants import selected_quant
from qir.passes.weight_scales import quant_source, with_coarse
from qir.runtime.calibration import METHODS, CalibrationMethod, Ifmr
from qir.runtime.scales import unusable_range
from qir.runtime.statistics import TensorStatistics

IFMR = Ifmr()


@dataclass(frozen=True)
class Calibrate(Pass):
    """Choose the scales of activations from calibration data (moving-average depends on their order)."""

    name: ClassVar[str] = "calibrate"
    method: Annotated[CalibrationMethod, METHODS] = IFMR
    ops: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    exact: bool = False
    weights: Literal["float", "quantized"] = "float"
    scales: Literal["auto", "float16"] = "auto"

    def run(self, graph: Graph, context: Context) -> bool:
        """Close open activation quants; PassError without data, CalibrationError if they do not fit.

        Layers whose input is always empty, or too small or too large for any scale, go back to float; as
        AMCT has it, a range beyond [FLT_EPSILON, 1 / FLT_EPSILON] is a CalibrationError (see `as_amct`).
        """
        quants = self._selected(graph, context)
        if not quants:
            return False
        statistics = statistics_for(graph, context, quants, self.weights, self.exact)
        for node in quants:
            if node.graph is None:
                continue  # it went with its only layer
            reason = _close(node, statistics[quant_source(node).name], self)
            if reason is None:
                context.rewrites.applied(self.name, node.name)
                continue
            for layer in layers_reading(node):
                leave_in_float(layer, reason)
                context.rewrites.refused(self.name, layer.name, reason)
        return True

    @property
    def as_amct(self) -> bool:
        """Whether tensors too small or too large for a scale are treated as AMCT does it.

        It fails for ranges that it calls unusable, and gives scale 1 to those that are just too small.
        Otherwise both are left in float, with the reason.
        """
        return self.exact or self.weights == "quantized"

    def _selected(self, graph: Graph, context: Context) -> list[Node]:
        """The open quants of the selected layers, split from those of others."""
        selection = Selection(self.ops, self.layers, self.regex)
        if self.ops or self.layers:
            if context.rules is None:
                raise PassError(
                    "calibrate needs the rules of a target to select layers: pass --target (or Context.rules)"
                )
            check_ops("ops", self.ops, context.rules)
            check_layers("layers", self.layers, graph, context.rules)
        check_patterns("regex", self.regex)
        quants = [node for node in open_activation_quants(graph) if not is_coarse(node)]
        found = [selected_quant(graph, node, selection) for node in quants]
        return with_coarse(node for node in found if node is not None)


def _close(node: Node, statistics: TensorStatistics, options: Calibrate) -> str | None:
    """Close an open quant; or the reason why its readers must stay in float."""
    source, spec = quant_source(node), node.output.tensor.quant
    assert isinstance(spec, QuantSpec)
    if statistics.count == 0:
        return never_filled(source)
    unusable = None if spec.qtype.is_float else unusable_range(statistics.minimum, statistics.maximum)
    if unusable is not None:
        layers = ", ".join(use.node.name for use in node.output.uses)
        failure = f"[{METHODS.name_of(options.method).upper()}]: Do layer {layers} data calibration failed!"
        if options.as_amct:
            raise CalibrationError(
                f"{failure} Its input '{source.name}' {unusable}; leave the layer in float (skip), or "
                "normalize the data"
            )
        return f"{failure} Its input '{source.name}' {unusable}; normalize the data"
    overflow = too_large(source, spec, statistics)
    if overflow is not None:
        return overflow
    params = activation_params(node, spec, statistics, options.method, float16=options.scales == "float16")
    reason = None if options.as_amct else too_small(source, params, statistics)
    if reason is None:
        close_activation(node, params, statistics)
    return reason
