"""Reads the quantized layers out of a graph: what a backend must know of each, checked to be complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.rules import RULES
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import (
    bias_add,
    is_quant,
    is_restored,
    operand_precision,
    quantized_layers,
    quantized_tensors,
    unquantized,
)
from qir.ir.types import QuantParams, QuantSpec, spec_of
from qir.ir.walk import walk_nodes
from qir.runtime.compensation import left_over
from qir.runtime.weights import quantize

_NO_COMPENSATION = (
    "input {1} of layer '{0}' is stored with error compensation, which this target does not have; write form "
    "'qdq', or give the operand another precision"
)


@dataclass(frozen=True)
class Operand:
    """A quantized constant operand: input `index` of `reader` stands for `value` (float) under `params`.

    With `coarse` it stands for what that leaves of the value: the second tensor of error compensation.
    """

    reader: Node
    index: int
    value: Value
    params: QuantParams
    coarse: QuantParams | None = None

    def integers(self) -> npt.NDArray[Any]:
        """The stored integers, in the dtype of the quantization and the layout of the constant."""
        assert self.value.constant is not None
        array = self.value.constant.array
        return quantize(array if self.coarse is None else left_over(array, self.coarse), self.params)


class Integers:
    """The integers of constant operands, each made once: for graphs that share constants, as clones do."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, QuantParams, QuantParams | None], tuple[Constant, npt.NDArray[Any]]] = {}

    def of(self, operand: Operand) -> npt.NDArray[Any]:
        """As `Operand.integers`."""
        constant = operand.value.constant
        assert constant is not None
        key = (id(constant), operand.params, operand.coarse)
        if key not in self._made:
            self._made[key] = constant, operand.integers()  # the constant stays, and so does its id
        return self._made[key][1]


@dataclass(frozen=True)
class QuantizedLayer:
    """One layer that runs in integers.

    `node` reads its activation, quantized by `activation`, as input 0. `last` is the node whose result is
    dequantized: the Add of the bias behind a MatMul, otherwise `node` itself. `dtype` is the float type of
    the model there: F32 or F16.
    """

    node: Node
    last: Node
    activation: QuantParams
    weight: Operand | None
    bias: Operand | None
    dtype: DType

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.node.name

    @property
    def index(self) -> int:
        """The input where the activation stands."""
        return 0

    @property
    def dequant_scale(self) -> npt.NDArray[np.float32]:
        """float32(scale_x * scale_w[c]): what one step of the integer result is worth, [C] or [1]."""
        scale = self.activation.scale_array()
        return scale if self.weight is None else scale * self.weight.params.scale_array()


@dataclass(frozen=True)
class QuantizedTensor:
    """Input `index` of a `node` that computes in float; its value travels as integers under `activation`."""

    node: Node
    index: int
    activation: QuantParams

    @property
    def name(self) -> str:
        """`layer:index`, as AMCT's records call it."""
        return f"{self.node.name}:{self.index}"


def read_layers(graph: Graph) -> tuple[QuantizedLayer, ...]:
    """The quantized layers in running order.

    BackendError when a quant is open (naming the layer and the pass that is missing), when a quantized layer
    has a float weight or bias, or when a quant does something other than feed such a layer.
    """
    check_closed(graph)
    layers = tuple(_read(n) for n in quantized_layers(graph) if n.op in RULES.ops and _is_integer(n))
    known = {(layer.node, 0) for layer in layers} | {(t.node, t.index) for t in read_tensors(graph)}
    for layer in layers:
        known |= {(o.reader, o.index) for o in (layer.weight, layer.bias) if o is not None}
    for node in walk_nodes(graph):
        if not is_quant(node) or _is_cast(node):
            continue
        stray = next((use for use in node.output.uses if use not in known), None)
        if stray is not None or node.output.is_output:
            reader = (
                f"input {stray.index} of '{stray.node.name}' ({stray.node.op})" if stray else "a graph output"
            )
            raise BackendError(
                f"quant '{node.name}' feeds {reader}, which no integer layer of this target explains; "
                "insert quants with insert-quant, or write form 'qdq'"
            )
    return layers


def _is_integer(layer: Node) -> bool:
    precision = operand_precision(layer, 0)
    return precision is not None and precision.qtype.is_integer


def _is_cast(quant: Node) -> bool:
    kind = quant.output.tensor.quant
    return kind is not None and spec_of(kind).qtype.is_float


def read_tensors(graph: Graph) -> tuple[QuantizedTensor, ...]:
    """Values that travel as integers to float computation, in running order; open ones are left out.

    They are read by MaxPool and Add, and by Identity for others. BackendError for other integers than INT8
    and for inputs that the target does not take so.
    """
    found: list[QuantizedTensor] = []
    for node, index in quantized_tensors(graph):
        precision = operand_precision(node, index)
        params = None if precision is None else precision.single
        if not isinstance(params, QuantParams):
            continue
        reason = _tensor_reason(node, index, params)
        if reason is not None:
            raise BackendError(f"input {index} of '{node.name}' ({node.op}) cannot be quantized: {reason}")
        found.append(QuantizedTensor(node, index, params))
    return tuple(found)


def _tensor_reason(node: Node, index: int, params: QuantParams) -> str | None:
    if params.spec.qtype is not DType.I8 or len(params.scale) != 1:
        return f"it is {params.spec.qtype.value} with {len(params.scale)} scales; Ascend needs i8 with one"
    rule = RULES.tensors["Add" if is_restored(node) else node.op]
    return rule(node, index)


def check_closed(graph: Graph) -> None:
    """BackendError for the first quant without a scale, naming the layer and the pass that closes it."""
    for node in walk_nodes(graph):
        if not is_quant(node) or isinstance(node.output.tensor.quant, QuantParams):
            continue
        uses, spec = node.output.uses, node.output.tensor.quant
        layer = f"layer '{uses[0].node.name}'" if uses else f"quant '{node.name}'"
        source = node.input(0)
        if isinstance(spec, QuantSpec) and spec.qtype is DType.I32:
            role, missing = "bias", "quantize-bias"
        elif source is not None and source.constant is not None:
            role, missing = "weight", "quantize-weights"
        else:
            role, missing = "input", "calibrate"
        raise BackendError(
            f"the {role} of {layer} is to be quantized but has no scale yet; run {missing} before writing"
        )


def _read(node: Node) -> QuantizedLayer:
    add = bias_add(node)
    weight = None if node.op == "AveragePool" else _operand(node, 1, "weight")
    bias: Operand | None = None
    if add is not None:
        bias = _operand(add, 1, "bias")
    elif weight is not None and node.input(2) is not None:
        bias = _operand(node, 2, "bias")
    precision = operand_precision(node, 0)
    activation = None if precision is None else precision.single
    if not isinstance(activation, QuantParams):  # check_closed has looked, so it is error compensation
        raise BackendError(_NO_COMPENSATION.format(node.name, 0))
    if len(activation.scale) != 1:
        raise BackendError(
            f"the input of layer '{node.name}' has {len(activation.scale)} scales; this target needs one"
        )
    return QuantizedLayer(node, add or node, activation, weight, bias, _float_type(node))


def _float_type(node: Node) -> DType:
    """The element type of the layer's float form; F32 where no type says, BackendError for other types."""
    known = (value.tensor.dtype for value in node.inputs if value is not None)
    dtype = next((dtype for dtype in known if dtype is not None), DType.F32)
    if dtype not in (DType.F32, DType.F16):
        raise BackendError(
            f"layer '{node.name}' ({node.op}) is {dtype.value}; Ascend quantizes float32 and float16 only"
        )
    return dtype


def _operand(reader: Node, index: int, role: str) -> Operand:
    value, precision = reader.input(index), operand_precision(reader, index)
    if precision is not None and precision.rest is not None:
        raise BackendError(_NO_COMPENSATION.format(reader.name, index))
    params = None if precision is None else precision.quant
    if value is None or not isinstance(params, QuantParams):
        raise BackendError(
            f"layer '{reader.name}' ({reader.op}) has a quantized input but its {role} is float; "
            "quantize both or neither (insert-quant does)"
        )
    source = unquantized(value)
    if source.constant is None:
        raise BackendError(
            f"the {role} '{source.name}' of layer '{reader.name}' is computed at run time; "
            "skip that layer in insert-quant"
        )
    return Operand(reader, index, source, params)
