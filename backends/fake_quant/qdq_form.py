"""The form `qdq` of the fake-quant graph: QuantizeLinear and DequantizeLinear, the portable form of ONNX.

    activation: x -> QuantizeLinear -> DequantizeLinear -> reader            (uint8; int8 if symmetric; int16)
    weight:     integers -> DequantizeLinear -> reader            (int8, per channel along the weight's axis)
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

from qir.backends.fake_quant.half import cast, widen_layers
from qir.backends.integers import StoredConstants, make_runnable
from qir.backends.layers import Operand, check_closed
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
_TYPES = (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32)
_WEIGHT_TYPES = (*_TYPES, DType.I4, DType.I5, DType.I6, DType.I7)


def needed_opset(graph: Graph) -> int:
    """The lowest opset in which this graph can be written."""
    wide = any(
        is_quant(n) and _params(n).spec.qtype in (DType.I16, DType.U16) and n.output.is_read
        for n in graph.nodes
    )
    return SHORT_SINCE if wide else PER_CHANNEL_SINCE


def lower(graph: Graph) -> Graph:
    """A closed graph of `needed_opset` or later in this form; BackendError when a quant is open."""
    check_closed(graph)
    lowered = graph.clone()
    constants = StoredConstants(lowered)
    widened = widen_layers(lowered)
    restored = [node for node in lowered.nodes if is_restored(node)]
    for node in lowered.nodes:
        if is_quant(node):
            _lower_quant(lowered, node, constants, widened)
    for node in restored:
        assert node.inputs[0] is not None
        lowered.replace(node.output, node.inputs[0])
        lowered.erase(node)
    constants.finish()
    make_runnable(lowered)
    return lowered


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


def _lower_quant(graph: Graph, node: Node, constants: StoredConstants, widened: Set[Node]) -> None:
    params, source = _params(node), node.inputs[0]
    assert source is not None
    if source.constant is None:
        readers = node.output.uses
        layer = readers[0].node.name if readers else node.name
        result = _activation(graph, node, layer, source, params)
    else:
        result = _constant(graph, node, source, params, constants)
    if source.tensor.dtype is DType.F16:
        for reader, index in node.output.uses:
            if reader in widened:
                reader.set_input(index, result)
        if node.output.is_read:
            result = cast(graph, result, DType.F16, before=node)
    graph.replace(node.output, result)
    graph.erase(node)


def _activation(graph: Graph, node: Node, layer: str, source: Value, params: QuantParams) -> Value:
    if source.tensor.dtype is DType.F16:
        source = cast(graph, source, DType.F32, before=node)
    if params.spec.qtype is DType.I8 and not params.spec.symmetric:
        params = QuantParams.of(
            replace(params.spec, qtype=DType.U8), params.scale, np.add(params.zero_point, 128)
        )
    factors = _factors(graph, f"{layer}.quantize", params)
    kind = TensorType(params.spec.qtype, source.tensor.shape)
    stored = _add(graph, node, "QuantizeLinear", f"{layer}.quantize", [source, *factors], kind, params)
    return _add(
        graph, node, "DequantizeLinear", f"{layer}.dequantize", [stored, *factors], source.tensor, params
    )


def _constant(
    graph: Graph, node: Node, source: Value, params: QuantParams, constants: StoredConstants
) -> Value:
    assert source.constant is not None
    operand, shape = Operand(node, 0, source, params), source.constant.shape
    name = f"{source.name}.dequantize"
    stored = constants.get(operand, _store)
    factors = _factors(graph, name, params)
    kind = TensorType(DType.F32, stored.tensor.shape)
    result = _add(graph, node, "DequantizeLinear", name, [stored, *factors], kind, params)
    groups = params.spec.groups
    return _input_first(graph, node, result, shape, groups) if groups > 1 else result


def _store(operand: Operand) -> npt.NDArray[Any]:
    groups = operand.params.spec.groups
    return _output_first(operand.integers(), groups) if groups > 1 else operand.integers()


def _factors(graph: Graph, prefix: str, params: QuantParams) -> list[Value]:
    """Scale and zero point: scalars, or vectors along the channel axis."""
    kind = params.spec.qtype.numpy or np.dtype(np.int8)  # below 8 bits: stored as int8
    scale, zero = params.scale_array(), params.zero_point_array().astype(kind)
    if params.spec.axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return [graph.constant(scale, f"{prefix}.scale"), graph.constant(zero, f"{prefix}.zero_point")]


def _add(
    graph: Graph,
    before: Node,
    op: str,
    name: str,
    inputs: Sequence[Value],
    kind: TensorType,
    params: QuantParams,
) -> Value:
    axis = None if params.spec.axis is None else 0 if params.spec.groups > 1 else params.spec.axis
    node = graph.add(
        op,
        inputs,
        name=graph.unique_node_name(name),
        outputs=[graph.unique_value_name(f"{name}.output0")],
        types=[kind],
        attributes={} if axis is None else {"axis": axis},
        before=before,
    )
    return node.output


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
