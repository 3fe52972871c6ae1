"""Lowers a deploy graph to a float graph that ONNX Runtime runs, with the same integers in every layer.

    AscendQuant      x -> Mul(factor) Clip(qmin - offset, qmax - offset) Round          = q - offset
    layer            the op itself on float32, or as `plan` says                       = acc
    AscendDequant    acc -> Mul(scale), with shift, relu and cast where asked for      = y
    AscendAntiQuant  q - offset -> Mul(scale)                                          = y

Integers travel less their zero point, so that the padding with the zero point, which the compiler arranges,
is the padding with 0 that the ops do anyway. Clipping first and rounding then gives the same integers, since
the limits are integers themselves.

Scales are graph inputs, fed by the session: as constants ONNX Runtime would multiply them into the weights of
a Conv next to them, and round before it sums. (A bias that is added behind a Conv is fed likewise.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.frontends.onnx import infer_types
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.runtime.deploy.build import Builder
from qir.runtime.deploy.fields import constant_of, describe
from qir.runtime.deploy.layers import DeployGraph, IntegerLayer, quant_behind
from qir.runtime.deploy.ops import AntiQuantStep, DequantStep, QuantStep
from qir.runtime.deploy.plan import Plan, plan_layer
from qir.runtime.deploy.sums import add_sums, along_channels

F32 = npt.NDArray[np.float32]
_INT16 = (-32768, 32767)


@dataclass(frozen=True)
class LoweredLayer:
    """A layer by its plan and the names of the values that hold its integers in the lowered graph.

    Use `sums` for the accumulators: a part of the bias may be missing in the value. `extremes` are the values
    that hold its least and greatest accumulator, when int32 may overflow.
    """

    layer: IntegerLayer
    plan: Plan
    input: str
    accumulator: str
    extremes: tuple[str, str] | None

    def sums(self, results: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The exact accumulators of a run, as floats; `results` holds the value `accumulator`."""
        partial = results[self.accumulator]
        high = self.plan.high_bias
        if high is None:
            return partial
        whole: npt.NDArray[np.float64] = partial.astype(np.float64) + along_channels(high, self.layer)
        return whole


@dataclass(frozen=True)
class Lowered:
    """The float graph, the scales to feed with each run, and the layers in running order."""

    graph: Graph
    scales: Mapping[str, F32]
    layers: tuple[LoweredLayer, ...]


def lower(graph: Graph, found: DeployGraph) -> Lowered:
    """Lower `graph` in place; `found` is what `read_layers` says of it."""
    work = _Lowering(graph, {step.node.output: step for step in found.quants})
    behind = {
        value: step
        for value in [n.output for n in found.moving] + [s.node.output for s in found.quants]
        if (step := quant_behind(value, work.quants)) is not None
    }
    for anti in found.anti_quants:
        work.check_restored(anti)
    for node in found.moving:
        work.move(node)
    for value, step in behind.items():
        if value.is_output:
            work.returned(value, step)
    for step in found.quants:
        work.quant(step)
    for anti in found.anti_quants:
        work.anti_quant(anti)
    layers = [work.layer(layer) for layer in found.layers]
    work.drop_needless_casts()
    return Lowered(graph, work.scales, tuple(layers))


@dataclass
class _Lowering:
    """The graph under work."""

    graph: Graph
    quants: Mapping[Value, QuantStep]
    scales: dict[str, F32] = field(default_factory=dict)
    casts: list[Node] = field(default_factory=list)

    def scale(self, name: str, data: npt.NDArray[np.float32]) -> Value:
        """A scale, or a part of a bias, as a graph input."""
        array = np.asarray(data, np.float32)
        value = self.graph.add_input(
            self.graph.unique_value_name(name), TensorType(DType.F32, tuple(array.shape))
        )
        self.scales[value.name] = array
        return value

    def quant(self, step: QuantStep) -> None:
        """q - offset, as float32."""
        name = step.node.name
        build = Builder(self.graph, name, step.node)
        x = build.cast(step.source, DType.F32, "cast")
        assert x.producer is not None
        self.casts.append(x.producer)
        factor = self.scale(f"{name}.factor", np.asarray(step.factor, np.float32))
        for _ in range(2 if step.sqrt_mode else 1):
            x = build.node("Mul", "mul", [x, factor], dtype=DType.F32)
        x = build.clip(x, *step.centred_range)
        if step.rounding == "Round":
            x = build.round(x)
        elif step.rounding == "Trunc":
            x = build.cast(build.cast(x, DType.I32, "trunc"), DType.F32, "centred")
        else:
            x = build.node(step.rounding, "round", [x], dtype=DType.F32)
        self._take_over(step.node, x)

    def _take_over(self, node: Node, result: Value) -> None:
        """Erase a node for `result`, which keeps the name of its output: values are tapped by it."""
        name = node.output.name
        self.graph.replace(node.output, result)
        self.graph.erase(node)
        if not self.graph.has_value(name):
            self.graph.rename(result, name)

    def returned(self, value: Value, step: QuantStep) -> None:
        """Integers that the graph returns get their zero point back."""
        build = Builder(self.graph, f"{value.name}.returned", None)
        offset = build.constant("offset", np.asarray(step.offset, np.float32))
        stored = build.node("Add", "add", [value, offset], dtype=DType.F32)
        kind = DType.I8 if step.stored is DType.I4 else step.stored
        result = build.cast(stored, kind, "cast")
        name = value.name
        for i, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.set_output(i, result)
        self.graph.rename(value, self.graph.unique_value_name(f"{name}.centred"))
        self.graph.rename(result, name)

    def layer(self, layer: IntegerLayer) -> LoweredLayer:
        """The layer's sums on floats, and its results dequantized."""
        plan = plan_layer(layer)
        first = layer.node.input(0)
        assert first is not None
        sums = add_sums(self.graph, layer, plan, self.scale)
        for step in layer.dequants:
            self._dequant(step, layer, sums.rounded)
        for node in dict.fromkeys((layer.last, layer.node)):
            if not any(value is not None and value.is_read for value in node.outputs):
                self.graph.erase(node)
        return LoweredLayer(layer, plan, first.name, sums.accumulator.name, sums.extremes)

    def _dequant(self, step: DequantStep, layer: IntegerLayer, accumulator: Value) -> None:
        name, params = step.node.name, step.params
        build = Builder(self.graph, name, step.node)
        wide = accumulator.tensor.dtype is DType.F64
        y = accumulator
        if params.shift.any():
            down = _scale_array(np.ldexp(1.0, -params.shift), layer)
            kind = DType.F64 if wide else DType.F32
            factor = build.constant("shift", down.astype(np.float64 if wide else np.float32))
            y = build.node(
                "Floor", "floor", [build.node("Mul", "shifted", [y, factor], dtype=kind)], dtype=kind
            )
        if wide:
            y = build.cast(y, DType.F32, "float")
        if params.shift.any():
            y = build.clip(y, *_INT16)
        scale = self.scale(f"{name}.scale", _scale_array(params.scale, layer))
        for _ in range(2 if step.sqrt_mode else 1):
            y = build.node("Mul", "mul", [y, scale], dtype=DType.F32)
        if params.shift.any():
            up = self.scale(f"{name}.shift", _scale_array(np.ldexp(1.0, params.shift), layer))
            y = build.node("Mul", "shifted_back", [y, up], dtype=DType.F32)
        if step.relu:
            y = build.node("Relu", "relu", [y], dtype=DType.F32)
        if step.result is DType.F16:
            y = build.cast(y, DType.F16, "half")
        self._take_over(step.node, y)

    def check_restored(self, step: AntiQuantStep) -> None:
        """What is taken away again must be what was put on."""
        quant = quant_behind(step.source, self.quants)
        assert quant is not None
        if (quant.offset, quant.stored) != (step.offset, step.stored):
            raise ModelError(
                f"{describe(step.node)} has offset {step.offset} and {step.stored.value}, but "
                f"{describe(quant.node)} before it has {quant.offset} and {quant.stored.value}"
            )

    def anti_quant(self, step: AntiQuantStep) -> None:
        """(q - offset) * scale."""
        build = Builder(self.graph, step.node.name, step.node)
        y = step.node.input(0)
        assert y is not None
        scale = self.scale(f"{step.node.name}.scale", np.asarray(step.scale, np.float32))
        for _ in range(2 if step.sqrt_mode else 1):
            y = build.node("Mul", "mul", [y, scale], dtype=DType.F32)
        if step.result is DType.F16:
            y = build.cast(y, DType.F16, "half")
        self._take_over(step.node, y)

    def move(self, node: Node) -> None:
        """An op that moves integers moves floats now. A Pad fills with the zero point, which is now 0."""
        node.output.type = TensorType(DType.F32, node.output.tensor.shape)
        if node.op != "Pad":
            return
        filler = node.input(2)
        held = constant_of(filler)
        known = filler is None or (held is not None and not np.any(held.array))
        if not known or node.attributes.get("value", 0.0) != 0.0:
            raise ModelError(f"{describe(node)} pads integers with something other than the constant 0")
        if len(node.inputs) > 1:  # a constant would let ONNX Runtime fuse the Pad, into pools that refuse it
            node.set_input(2, self.scale(f"{node.name}.zero", np.zeros((), np.float32)))

    def drop_needless_casts(self) -> None:
        """Casts to float32 of what is float32 anyway."""
        sources = [cast.input(0) for cast in self.casts]
        if any(source is not None and source.tensor.dtype is None for source in sources):
            infer_types(self.graph)
        for cast in self.casts:
            source = cast.input(0)
            if source is not None and source.tensor.dtype is DType.F32:
                self.graph.replace(cast.output, source)
                self.graph.erase(cast)


def _scale_array(data: npt.NDArray[np.generic], layer: IntegerLayer) -> F32:
    """One number, or one per output channel shaped to lie along axis 1 of the layer's result."""
    array = data.astype(np.float32)
    return array.reshape(()) if array.size == 1 else along_channels(array, layer)
