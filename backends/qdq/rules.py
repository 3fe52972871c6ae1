"""What the target `qdq` stores in fewer bits: the rules for fake-quant graphs that no hardware limits.

Every operand of a layer is quantized by itself: computed ones per tensor with a zero point, weights without,
per output channel where the op has one axis for those. Integers of 4 to 8 and of 16 bits, error compensation
and float16 are there for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from qir.ir.dtypes import DType
from qir.ir.node import Node, Value
from qir.ir.quants import unquantized
from qir.ir.types import QuantSpec
from qir.passes.rules import KEEP_FLOAT, OperandRule, OpRule, Role, Stored, TargetRules

_FLOATS = (DType.F32, DType.F16, None)
_WIDE: tuple[Stored, ...] = ("int16", "ec", "float16", "float32")
PRECISIONS: Mapping[Role, tuple[Stored, ...]] = MappingProxyType(
    {
        "activation": ("int8", *_WIDE),
        "weight": ("int4", "int5", "int6", "int7", "int8", *_WIDE),
        "bias": ("float16", "float32"),
    }
)


def _spec(index: int, node: Node) -> QuantSpec:
    """How operand `index` of a node is quantized: as a weight if it is constant."""
    value = node.input(index)
    constant = None if value is None else unquantized(value).constant
    if constant is None:
        return QuantSpec(DType.I8, symmetric=False)
    if index != 1:
        return QuantSpec(DType.I8)
    if node.op == "Conv":
        return QuantSpec(DType.I8, axis=0)
    if node.op == "ConvTranspose":
        return QuantSpec(DType.I8, axis=1, groups=_integer(node, "group", 1))
    if node.op == "Gemm":
        return QuantSpec(DType.I8, axis=0 if _integer(node, "transB", 0) else 1)
    if node.op == "MatMul" and len(constant.shape) == 2:
        return QuantSpec(DType.I8, axis=1)
    return QuantSpec(DType.I8)


def _bias(node: Node) -> QuantSpec:
    weight = node.input(1)
    is_constant = weight is not None and unquantized(weight).constant is not None
    return QuantSpec(DType.I32, axis=0 if is_constant and _spec(1, node).axis is not None else None)


def _integer(node: Node, name: str, default: int) -> int:
    found = node.attributes.get(name, default)
    return found if isinstance(found, int) else default


def _refuse(count: int, node: Node) -> str | None:
    """Why a node stays in float of which `count` operands would be quantized."""
    if KEEP_FLOAT in node.metadata:
        return node.metadata[KEEP_FLOAT]
    operands = [value for i in range(count) if (value := node.input(i)) is not None]
    if not operands or node.input(0) is None:
        return "it has no data input"
    for value in operands:
        if value.tensor.dtype not in _FLOATS:
            kind = "" if value.tensor.dtype is None else value.tensor.dtype.value
            return f"its input '{value.name}' is {kind}; only float32 and float16 are quantized"
    if all(value.constant is not None for value in operands):
        return f"its data input '{operands[0].name}' is a constant; there is nothing to calibrate"
    return _bias_reason(node)


def _bias_reason(node: Node) -> str | None:
    bias: Value | None = node.input(2)
    if node.op in ("Conv", "ConvTranspose", "Gemm") and bias is not None and bias.constant is None:
        return f"its bias '{bias.name}' is computed at run time; only a constant can be added as int32"
    if node.op != "Gemm":
        return None
    plain = all(node.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    vector = bias is None or (bias.constant is not None and len(bias.constant.shape) == 1)
    return None if plain and vector else "its alpha, beta or bias is not plain; run normalize-gemm before"


def _precision(node: Node, role: Role, precision: Stored) -> str | None:
    """Why an operand cannot be stored so."""
    if precision not in PRECISIONS[role]:
        what = {"activation": "inputs", "weight": "weights", "bias": "biases"}[role]
        return f"target 'qdq' has no {precision} {what}, only {', '.join(PRECISIONS[role])}"
    weight = node.input(1)
    narrow = role == "weight" and precision in ("int4", "int5", "int6", "int7")
    if narrow and (weight is None or unquantized(weight).constant is None):
        return f"input 1 of this {node.op} is computed at run time; only weights have fewer than 8 bits"
    return None


def _op(name: str, count: int, *, bias: int | None = None) -> OpRule:
    """A rule for an op of which the first `count` inputs are quantized, and the bias `bias`."""
    operands = [OperandRule("activation", 0, partial(_spec, 0))]
    operands += [OperandRule("weight", i, partial(_spec, i)) for i in range(1, count)]
    operands += [] if bias is None else [OperandRule("bias", bias, _bias)]
    return OpRule(name, tuple(operands), partial(_refuse, count), _precision)


RULES = TargetRules(
    name="qdq",
    ops={
        rule.op: rule
        for rule in (
            _op("Conv", 2, bias=2),
            _op("ConvTranspose", 2, bias=2),
            _op("Gemm", 2, bias=2),
            _op("MatMul", 2, bias=1),  # input 1 of the Add behind
            _op("AveragePool", 1),
            _op("GlobalAveragePool", 1),
            _op("GridSample", 2),
            _op("Resize", 2),
        )
    },
    notes={
        "LSTM": "target 'qdq' runs recurrent layers in float",
        "GRU": "target 'qdq' runs recurrent layers in float",
        "RNN": "target 'qdq' runs recurrent layers in float",
        "If": "target 'qdq' runs the bodies of control flow in float",
        "Loop": "target 'qdq' runs the bodies of control flow in float",
        "Scan": "target 'qdq' runs the bodies of control flow in float",
        "Einsum": "target 'qdq' has no quantized form of Einsum; write it as MatMul",
        "DeformConv": "target 'qdq' has no quantized form of deformable convolution",
        "Attention": "target 'qdq' has no quantized form of Attention; export it as MatMul and Softmax",
    },
    precisions=PRECISIONS,
    whole_layers=False,
    outputs=("int8", "int16", "float16"),
)
"""The rules of the target `qdq`."""
