"""A quantized model in one session whose scales of activations are inputs, so that many can be tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import coarse_quant, is_coarse, is_quant, unquantized
from qir.ir.types import QuantParams, tensor
from qir.runtime.output_scores import OutputScores
from qir.runtime.rounder import DOMAIN, Rounder
from qir.runtime.session import Session
from qir.runtime.twins import without_quants
from qir.runtime.units import Array
from qir.runtime.workers import cores, ordered_map


class ScaleInputs:
    """Runs a graph as it is closed, and closed in any other way that differs in scales of activations only.

    Weights are those of the graph at hand. Biases may be open. PassError for other open quants.
    """

    def __init__(self, graph: Graph) -> None:
        switched, self._operands = _with_scale_inputs(graph)
        self._session = Session(switched, threads=1)

    def scores(self, graph: Graph, judge: OutputScores) -> Sequence[float]:
        """Each metric of the model that `graph` closes, against the float outputs that `judge` has."""
        scales = self._scales(graph)
        outputs = ordered_map(
            lambda unit: self._session.run({**unit.feeds, **scales}, self._session.outputs),
            judge.units,
            cores(),
            self._session.stop,
        )
        return judge.means(outputs)

    def _scales(self, graph: Graph) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for name, (scale, zero_point) in self._operands.items():
            params = graph.value(name).tensor.quant
            assert isinstance(params, QuantParams), f"'{name}' is open in one of the graphs only"
            found[scale] = params.scale_array().reshape(())
            found[zero_point] = np.asarray(params.zero_point_array().reshape(()), params.spec.qtype.numpy)
        return found


def _with_scale_inputs(graph: Graph) -> tuple[Graph, Mapping[str, tuple[str, str]]]:
    """A copy without quants, and the inputs for scale and zero point of each quant of an activation."""
    copy = graph.clone()
    copy.opsets.setdefault(DOMAIN, 1)
    rounder = Rounder(copy)
    operands: dict[str, tuple[str, str]] = {}

    def rounded(quant: Node, source: Value) -> Value:
        """`source` rounded by a quant whose scale is an input."""
        params = quant.output.tensor.quant
        assert isinstance(params, QuantParams)
        kinds = {"scale": DType.F32, "zero_point": params.spec.qtype}
        scale, zero_point = (
            copy.add_input(copy.unique_value_name(f"{quant.output.name}.{what}"), tensor(kind, ()))
            for what, kind in kinds.items()
        )
        operands[quant.output.name] = scale.name, zero_point.name
        return rounder.round_by(source, scale, zero_point, quant)

    for node in copy.nodes:
        if not _is_switchable(node):
            continue
        source, coarse = unquantized(node.output), coarse_quant(node)
        if coarse is None:
            result = rounded(node, source)
        else:
            first = rounded(coarse, source)
            result = rounder.plus(first, rounded(node, rounder.minus(source, first, node)), node)
        copy.replace(node.output, result)
        copy.erase(node)
    return without_quants(copy, rounded=True), operands


def _is_switchable(node: Node) -> bool:
    """True for a quant of an activation that has a scale; of two, for error compensation, for the second."""
    if not is_quant(node) or is_coarse(node) or unquantized(node.output).constant is not None:
        return False
    params = node.output.tensor.quant
    return isinstance(params, QuantParams) and bool(params.scale)
