"""Divides inputs of layers by a factor per channel, which their weights and what makes them take up."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from qir.ir.constant import Constant
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.output_factors import note_output_factors
from qir.ir.quants import is_quant
from qir.ir.weight_passes import note_weight_pass
from qir.passes.context import Context
from qir.passes.equalization.layer_weights import F64, LAYERS, LayerWeights, weights_of
from qir.passes.equalization.routes import Route, find_route, prepared_division
from qir.passes.equalization.writes import Factors, Write, all_of
from qir.runtime.balance_factors import F32, balance_factors
from qir.runtime.channel_maxima import collect_channel_maxima

NAME = "equalize-inputs"
EQUALIZED = "qir.equalized"
"""Metadata key of a layer whose input channels were equalized: JSON of the strength and of what divides."""
_NARROWEST = 2.0**-12
"""Channels with a smaller part of the widest one's range are taken for so wide: data may yet fill them."""


@dataclass(frozen=True)
class InputEqualization:
    """How inputs are equalized; the fields are the options of `equalize-inputs`."""

    strength: float = 0.5
    explicit: bool = False
    skip: tuple[str, ...] = ()

    def apply(self, graph: Graph, context: Context) -> bool:
        """Equalize the inputs of all float layers; PassError without data or where layers are quantized."""
        layers: dict[Node, LayerWeights] = {}
        groups = [found for value in _inputs(graph) if (found := self._group(value, layers, context))]
        if not groups:
            return False
        if context.data is None:
            raise PassError("equalize-inputs needs data: pass --data DATA (or Context.data)")
        channels = {(g.value.name, g.axis): g.layers[0].inputs for g in groups}
        maxima = collect_channel_maxima(graph, channels, context.data, context.progress)
        changed = False
        # Backwards: what the layers behind give to a layer's outputs counts in its weights for its inputs.
        for group in reversed(groups):
            changed |= self._equalize(group, maxima[group.value.name, group.axis], layers, context)
        if changed:
            note_weight_pass(graph, NAME)
        return changed

    def _group(self, value: Value, layers: dict[Node, LayerWeights], context: Context) -> _Group | None:
        """The layers that read a value, with the way to what divides it; None, with the reason logged."""
        found = self._checked_group(value, layers)
        if isinstance(found, str):
            for node in _readers(value):
                context.rewrites.refused(NAME, node.name, found)
            return None
        return found

    def _checked_group(self, value: Value, layers: dict[Node, LayerWeights]) -> _Group | str | None:
        readers = _readers(value)
        if any(EQUALIZED in node.metadata for node in readers):
            return None
        for node in readers:
            made = layers.get(node) or weights_of(node)
            if isinstance(made, str):
                return made
            layers[node] = made
            if node.name in self.skip:
                return f"'{node.name}' is skipped by the user"
        held = [layers[node] for node in readers]
        if len({(layer.axis, layer.inputs) for layer in held}) > 1:
            return f"layers that read '{value.name}' have its channels in different places"
        route = _route(value, held[0], layers)
        if isinstance(route, str) and not self.explicit:
            return route
        if isinstance(route, str) and value.tensor.shape is None:
            return f"the rank of '{value.name}' is unknown"
        return _Group(value, held, None if isinstance(route, str) else route)

    def _equalize(
        self, group: _Group, maxima: F32, layers: dict[Node, LayerWeights], context: Context
    ) -> bool:
        factors = group.factors(maxima, self.strength)
        names = [layer.node.name for layer in group.layers]
        source = None if group.route is None else layers.get(group.route.source)
        try:
            writes = group.prepared(factors, source)
        except PassError as error:
            for layer in group.layers:
                layer.scale_inputs(1 / factors)
            if source is not None:
                source.scale_outputs(factors)
            for name in names:
                context.rewrites.refused(NAME, name, str(error))
            return False
        note_output_factors(group.value.graph, writes())
        divider = "Mul" if group.route is None else group.route.source.name
        for layer in group.layers:
            layer.node.metadata[EQUALIZED] = json.dumps({"strength": self.strength, "divided_by": divider})
            context.rewrites.applied(NAME, layer.node.name)
        return True


@dataclass(frozen=True)
class _Group:
    """All layers that read a value; without a `route`, a Mul must divide it."""

    value: Value
    layers: list[LayerWeights]
    route: Route | None

    @property
    def axis(self) -> int:
        return self.layers[0].axis

    def factors(self, maxima: F32, strength: float) -> F64:
        """The factor of each channel, by which the value is divided."""
        weights = np.max([layer.input_ranges() for layer in self.layers], axis=0).astype(np.float32)
        narrowest = np.float32(maxima.max(initial=0) * _NARROWEST)
        wide = np.where(maxima > 0, np.maximum(maxima, narrowest), 0).astype(np.float32)
        found: F64 = balance_factors(wide, weights, strength).astype(np.float64)
        return found

    def prepared(self, factors: F64, source: LayerWeights | None) -> Write:
        """Writes division and weights; PassError now when anything overflows.

        `source` is the layer that takes up the division, if it is one.
        """
        for layer in self.layers:
            layer.scale_inputs(factors)
        if source is not None:
            source.scale_outputs(1 / factors)
        held = [*self.layers, *([] if source is None else [source])]
        writes = [layer.prepared() for layer in held]
        if self.route is not None:
            return all_of(*writes, prepared_division(self.route, factors))
        return all_of(*writes, lambda: self._insert_mul(factors))

    def _insert_mul(self, factors: F64) -> Factors:
        """Divide in front of the layers; nothing that the user's model has is divided by it."""
        value, readers = self.value, [layer.node for layer in self.layers]
        weight = readers[0].inputs[1]
        assert weight is not None
        assert weight.constant is not None
        reciprocal = (1 / factors).astype(weight.constant.array.dtype).reshape(-1, *[1] * (-self.axis - 1))
        graph = value.graph
        constant = graph.constant(Constant.of(reciprocal), f"{value.name}.reciprocals")
        name = graph.unique_node_name(f"{value.name}.equalized")
        outputs = [graph.unique_value_name(name)]
        mul = graph.add(
            "Mul", [value, constant], name=name, outputs=outputs, types=[value.type], before=readers[0]
        )
        for node in readers:
            node.set_input(0, mul.output)
        return {}


def _inputs(graph: Graph) -> list[Value]:
    """The values that layers read as data, in the order of their first readers; PassError for quants."""
    found: dict[Value, None] = {}
    for node in graph.nodes:
        value = node.input(0)
        if node.op not in LAYERS or node.domain or value is None or value.graph is not graph:
            continue
        if any(v is not None and v.producer is not None and is_quant(v.producer) for v in node.inputs):
            raise PassError(
                f"layer '{node.name}' is quantized already; run equalize-inputs before insert-quant"
            )
        if value.constant is None:
            found[value] = None
    return list(found)


def _readers(value: Value) -> list[Node]:
    """The layers of the value's own graph that read it as data."""
    uses = (use for use in value.uses if use.node.graph is value.graph and use.index == 0)
    return [use.node for use in uses if use.node.op in LAYERS and not use.node.domain]


def _route(value: Value, reader: LayerWeights, layers: dict[Node, LayerWeights]) -> Route | str:
    """The way from a value to what can divide it, or the reason why there is none."""
    if value.is_output or len(_readers(value)) != len(value.uses):
        return f"its input '{value.name}' has other readers than layers"
    route = find_route(value, reader.axis, to_layer=False)
    if isinstance(route, str) or route.source.op not in LAYERS:
        return route
    made = layers.get(route.source) or weights_of(route.source)
    if isinstance(made, str):
        return made
    layers[route.source] = made
    if (made.axis, made.outputs) != (reader.axis, reader.inputs):
        return f"the channels of {route.source.op} '{route.source.name}' are not those of its input"
    return route
