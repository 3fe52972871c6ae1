"""The form `qdq` of the fake-quant graph: QuantizeLinear and DequantizeLinear, the portable form of ONNX.

    activation: x -> QuantizeLinear -> DequantizeLinear -> reader            (uint8; int8 if symmetric; int16)
    weight:     integers -> DequantizeLinear -> reader            (int8, per channel along the weight's axis)
    ec:         both tensors as above, the second of what the first leaves, and Add       (activation, weight)
    float16:    x -> Cast -> Cast -> reader
    bias:       integers -> DequantizeLinear -> reader            (int32, scale = scale_x * scale_w)

The Identity of a quant goes: what DequantizeLinear gives is read by integer layers and float ops alike.

Weights of a grouped ConvTranspose, [Cin, Cout/groups, k…], have Cout scales but no axis of Cout entries: they
are stored Cout-first, dequantized along axis 0 and brought back by Reshape and Transpose.

An asymmetric int8 activation is written in uint8, 128 higher with a zero point 128 higher: the same numbers,
in the type that runtimes on x86 compute with. (ONNX Runtime changes int8 into it, and thereby breaks models
of opset 21 whose 3-D MatMul has a bias: seen in 1.31.)

Weights below 8 bits are stored one in an int8: the numbers are the same, and any runtime of opset 13 can
read them.
Layers of float16 models compute in float32 between Cast nodes.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.casts import cast
from qir.backends.fake_quant.half import widen_layers
from qir.backends.fake_quant.plain import PlainOps
from qir.backends.integers import StoredConstants, make_runnable
from qir.backends.layers import Integers, Operand, check_closed
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant, is_restored
from qir.ir.types import QuantParams, TensorType

PER_CHANNEL_SINCE = 13
"""The opset in which DequantizeLinear got an axis."""
SHORT_SINCE = 21
"""The opset in which QuantizeLinear learned 16-bit integers."""
_WIDE = (DType.I16, DType.U16)
_TYPES = (DType.I8, DType.U8, *_WIDE, DType.I32, DType.F16, DType.F32)
_WEIGHT_TYPES = (*_TYPES, DType.I4, DType.I5, DType.I6, DType.I7)


def needed_opset(graph: Graph) -> int:
    """The lowest opset in which this graph can be written with QuantizeLinear and DequantizeLinear alone."""
    wide = any(is_quant(n) and _params(n).spec.qtype in _WIDE and n.output.is_read for n in graph.nodes)
    return SHORT_SINCE if wide else PER_CHANNEL_SINCE


def lower(graph: Graph, integers: Integers | None = None) -> Graph:
    """Write a closed graph of opset 13 or later in this form, in place; BackendError when a quant is open.

    Below opset 21, integers of 16 bits are written in plain ops.
    """
    check_closed(graph)
    writer = _Writer(graph, widen_layers(graph), integers)
    restored = [node for node in graph.nodes if is_restored(node)]
    for node in graph.nodes:
        if is_quant(node):
            writer.lower(node)
    for node in restored:
        assert node.inputs[0] is not None
        graph.replace(node.output, node.inputs[0])
        graph.erase(node)
    writer.constants.finish()
    make_runnable(graph)
    return graph


def _params(node: Node) -> QuantParams:
    params = node.output.tensor.quant
    assert isinstance(params, QuantParams)  # check_closed has looked
    types = _TYPES if node.inputs[0] is None or node.inputs[0].constant is None else _WEIGHT_TYPES
    if params.spec.qtype not in types:
        raise BackendError(
            f"quant '{node.name}' asks for {params.spec.qtype.value}, which form 'qdq' does not write; "
            f"it writes {', '.join(t.value for t in types)}"
        )
    return params


class _Writer:
    """Replaces quants one by one, in running order."""

    def __init__(self, graph: Graph, widened: Set[Node], integers: Integers | None) -> None:
        self.graph, self.widened = graph, widened
        self.constants = StoredConstants(graph, integers)
        self._firsts: dict[Node, tuple[QuantParams, Value]] = {}  # quants of rests: of what, and in float32

    def lower(self, node: Node) -> None:
        """Put nodes of ONNX in the place of a quant."""
        params, source = _params(node), node.inputs[0]
        assert source is not None
        if params.spec.qtype.is_float:
            result = self._cast(node, source, params)
        elif source.constant is None:
            result = self._activation(node, source, params)
        else:
            result = self._constant(node, source, params)
        for reader, _ in node.output.uses:
            if is_quant(reader):
                self._firsts[reader] = params, result
        if source.tensor.dtype is DType.F16:
            for reader, index in node.output.uses:
                if reader in self.widened:
                    reader.set_input(index, result)
            if node.output.is_read:
                result = cast(self.graph, result, DType.F16, before=node)
        self.graph.replace(node.output, result)
        self.graph.erase(node)

    def _cast(self, node: Node, source: Value, params: QuantParams) -> Value:
        """Down and back to float32; what is stored in that type as it is stays so."""
        kind = params.spec.qtype
        if source.constant is not None and source.tensor.dtype is not kind:
            source = self.constants.get(Operand(node, 0, source, params), _store)
        elif source.tensor.dtype is not kind:
            source = cast(self.graph, source, kind, before=node)
        return source if kind is DType.F32 else cast(self.graph, source, DType.F32, before=node)

    def _activation(self, node: Node, source: Value, params: QuantParams) -> Value:
        name = _reader(node)
        if source.tensor.dtype is DType.F16:
            source = cast(self.graph, source, DType.F32, before=node)
        if node not in self._firsts:
            return self._rounded(node, source, params, name)
        _, first = self._firsts[node]
        rest = self._add(node, "Sub", f"{name}.rest", [source, first], source.tensor)
        second = self._rounded(node, rest, params, f"{name}.rest")
        return self._add(node, "Add", f"{name}.compensated", [first, second], source.tensor)

    def _rounded(self, node: Node, source: Value, params: QuantParams, name: str) -> Value:
        if self._is_plain(params):
            return PlainOps(self.graph, f"{name}.quantize", node).rounded(source, params)
        if params.spec.qtype is DType.I8 and not params.spec.symmetric:
            params = QuantParams.of(
                replace(params.spec, qtype=DType.U8), params.scale, np.add(params.zero_point, 128)
            )
        factors = self._factors(f"{name}.quantize", params)
        kind = TensorType(params.spec.qtype, source.tensor.shape)
        stored = self._add(node, "QuantizeLinear", f"{name}.quantize", [source, *factors], kind)
        return self._add(node, "DequantizeLinear", f"{name}.dequantize", [stored, *factors], source.tensor)

    def _constant(self, node: Node, source: Value, params: QuantParams) -> Value:
        assert source.constant is not None
        coarse, first = self._firsts.get(node, (None, None))
        operand, shape, groups = (
            Operand(node, 0, source, params, coarse), source.constant.shape, params.spec.groups,
        )  # fmt: skip
        name = f"{source.name}.dequantize" if coarse is None else f"{source.name}.rest.dequantize"
        stored = self.constants.get(operand, _store)
        axis = 0 if groups > 1 else params.spec.axis
        if self._is_plain(params):
            result = PlainOps(self.graph, name, node).restored(stored, params, axis)
        else:
            kind = TensorType(DType.F32, stored.tensor.shape)
            inputs = [stored, *self._factors(name, params)]
            result = self._add(node, "DequantizeLinear", name, inputs, kind, axis)
        result = _input_first(self.graph, node, result, shape, groups) if groups > 1 else result
        if first is None:
            return result
        kind = TensorType(DType.F32, shape)
        return self._add(node, "Add", f"{source.name}.compensated", [first, result], kind)

    def _is_plain(self, params: QuantParams) -> bool:
        return params.spec.qtype in _WIDE and self.graph.opsets.get("", SHORT_SINCE) < SHORT_SINCE

    def _factors(self, prefix: str, params: QuantParams) -> list[Value]:
        """Scale and zero point: scalars, or vectors along the channel axis."""
        kind = params.spec.qtype.numpy or np.dtype(np.int8)  # below 8 bits: stored as int8
        scale, zero = params.scale_array(), params.zero_point_array().astype(kind)
        if params.spec.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        made = self.graph.constant
        return [made(scale, f"{prefix}.scale"), made(zero, f"{prefix}.zero_point")]

    def _add(
        self,
        before: Node,
        op: str,
        name: str,
        inputs: Sequence[Value],
        kind: TensorType,
        axis: int | None = None,
    ) -> Value:
        return self.graph.add(
            op,
            inputs,
            name=self.graph.unique_node_name(name),
            outputs=[self.graph.unique_value_name(f"{name}.output0")],
            types=[kind],
            attributes={} if axis is None else {"axis": axis},
            before=before,
        ).output


def _reader(quant: Node) -> str:
    """The name of the first layer that reads a quant, itself or with its rest added."""
    reader = quant.output.uses[0].node if quant.output.is_read and quant.output.uses else quant
    return _reader(reader) if reader is not quant and is_quant(reader) else reader.name


def _store(operand: Operand, integers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    groups = operand.params.spec.groups
    return _output_first(integers, groups) if groups > 1 else integers


def _output_first(weight: npt.NDArray[Any], groups: int) -> npt.NDArray[Any]:
    """[Cin, Cout/groups, k…] as [Cout, Cin/groups, k…]: channel g * Cout/groups + j is index j of block g."""
    blocks = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(blocks.reshape(-1, *blocks.shape[2:]))


def _input_first(graph: Graph, before: Node, value: Value, shape: tuple[int, ...], groups: int) -> Value:
    """The inverse of `_output_first`, in nodes; `shape` is the layout of ConvTranspose."""
    split = (groups, shape[1], shape[0] // groups, *shape[2:])
    swapped = (0, 2, 1, *range(3, len(split)))
    steps = (
        ("Reshape", "split", np.array(split), split, None),
        ("Transpose", "swap", None, tuple(split[i] for i in swapped), swapped),
        ("Reshape", "merge", np.array(shape), shape, None),
    )
    for op, part, target, result, perm in steps:
        name = graph.unique_node_name(f"{value.name}.{part}")
        extra = [] if target is None else [graph.constant(Constant.of(np.asarray(target)), f"{name}.shape")]
        value = graph.add(
            op,
            [value, *extra],
            name=name,
            types=[TensorType(value.tensor.dtype, result)],
            attributes={} if perm is None else {"perm": perm},
            before=before,
        ).output
    return value
