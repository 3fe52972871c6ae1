"""What Ascend runs in integers, op by op, and the reason why a given node must stay in float.

Weights are symmetric: per output channel for Conv and ConvTranspose, per tensor for Gemm and MatMul.
Activations are asymmetric and per tensor, but symmetric for 3-D convolutions. INT8 is the rule; Conv,
ConvTranspose and Gemm also take INT16 inputs, all layers INT4 weights, and 2-D convolutions INT6 and INT7
weights (for Winograd's algorithm), stored one in an int8. Layers of float32 and of float16
models are quantized alike. The restrictions are AMCT's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qir.backends.ascend.precisions import (
    PRECISIONS,
    WEIGHT_BITS,
    int16_conv,
    int16_gemm,
    int_attribute,
    precision_reason,
    rank,
)
from qir.ir.dtypes import DType
from qir.ir.node import Node, Value
from qir.ir.types import QuantSpec
from qir.passes.rules import KEEP_FLOAT, OperandRule, OpRule, Refusal, TargetRules

_FLOATS = (DType.F32, DType.F16)


def _activation(node: Node) -> QuantSpec:
    weight = node.input(1) if node.op == "Conv" else None
    volumetric = weight is not None and weight.constant is not None and len(weight.constant.shape) == 5
    return QuantSpec(DType.I8, symmetric=volumetric)


def _weight(node: Node) -> QuantSpec:
    if node.op == "Conv":
        return QuantSpec(DType.I8, axis=0)
    if node.op == "ConvTranspose":
        return QuantSpec(DType.I8, axis=1, groups=int_attribute(node, "group", 1))
    return QuantSpec(DType.I8)


def _bias(node: Node) -> QuantSpec:
    return QuantSpec(DType.I32, axis=0 if node.op in ("Conv", "ConvTranspose") else None)


def _ints(node: Node, name: str) -> tuple[int, ...]:
    found = node.attributes.get(name, ())
    return tuple(x for x in found if isinstance(x, int)) if isinstance(found, tuple) else ()


def _number(node: Node, name: str, default: float) -> float:
    found = node.attributes.get(name, default)
    return float(found) if isinstance(found, (int, float)) else default


def _type_reason(value: Value, what: str) -> str | None:
    if value.tensor.dtype not in (*_FLOATS, None):
        return f"its {what} is {value.tensor.dtype.value}; only float32 and float16 layers are quantized"
    return None


def _constant_reason(value: Value | None, role: str) -> str | None:
    """Why `value` cannot be stored as integers, or None when it is a float constant."""
    if value is None:
        return f"it has no {role}"
    if value.constant is None:
        return f"its {role} '{value.name}' is computed at run time; only constants can be stored as integers"
    return _type_reason(value, f"{role} '{value.name}'")


def _activation_reason(node: Node) -> str | None:
    value = node.input(0)
    if value is None:
        return "it has no data input"
    if value.constant is not None:
        return f"its data input '{value.name}' is a constant; there is nothing to calibrate"
    return _type_reason(value, f"data input '{value.name}'")


def _operands_reason(node: Node) -> str | None:
    """Why the operands of Conv, ConvTranspose, Gemm or MatMul cannot be quantized, or None."""
    bias = node.input(2)
    reason = (
        _activation_reason(node)
        or _constant_reason(node.input(1), "weight")
        or (None if bias is None else _constant_reason(bias, "bias"))
    )
    found = [v.tensor.dtype for v in node.inputs if v is not None and v.tensor.dtype is not None]
    kinds = tuple(dict.fromkeys(kind.value for kind in found))
    if reason is None and len(kinds) > 1:
        return f"its operands are of different types: {' and '.join(kinds)}"
    return reason


def _refuse(of_op: Refusal, node: Node) -> str | None:
    return node.metadata.get(KEEP_FLOAT) or of_op(node)


def _refuse_conv(node: Node) -> str | None:
    reason = _operands_reason(node)
    if reason is not None:
        return reason
    size, dilations = rank(node.input(1)), _ints(node, "dilations")
    if not 3 <= size <= 5:
        return f"its weight has {size} dimensions; Ascend convolves over 1, 2 or 3 spatial dimensions"
    if size == 5 and dilations and dilations[0] != 1:
        return f"it is a 3-D convolution with depth dilation {dilations[0]}; Ascend needs 1"
    return None


def _refuse_conv_transpose(node: Node) -> str | None:
    reason = _operands_reason(node)
    if reason is not None:
        return reason
    size, dilations = rank(node.input(1)), _ints(node, "dilations")
    if size not in (3, 4):
        return (
            f"its weight has {size} dimensions; Ascend quantizes ConvTranspose over 1 or 2 spatial dimensions"
        )
    if any(d != 1 for d in dilations):
        return f"it has dilations {list(dilations)}; Ascend quantizes ConvTranspose without dilation only"
    return None


def _refuse_gemm(node: Node) -> str | None:
    if int_attribute(node, "transA", 0):
        return "it has transA=1; Ascend quantizes Gemm with a plain data input only"
    reason = _operands_reason(node)
    if reason is not None:
        return reason
    weight, bias = node.input(1), node.input(2)
    assert weight is not None  # _constant_reason has looked
    columns = weight.tensor.shape[-1] if weight.tensor.shape else None
    plain = not int_attribute(node, "transB", 0)
    plain &= all(_number(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
    plain &= bias is None or bias.tensor.shape == (columns,)
    if not plain:
        return "its transB, alpha, beta or bias shape is not plain; run normalize-gemm before insert-quant"
    return None


def _refuse_matmul(node: Node) -> str | None:
    left, right = node.input(0), node.input(1)
    if left is not None and right is not None and left.constant is None and right.constant is None:
        return "both of its operands are computed at run time; Ascend quantizes MatMul by a constant only"
    if left is not None and left.constant is not None:
        return "its constant is the left operand; Ascend quantizes MatMul with the constant on the right only"
    reason = _operands_reason(node)
    if reason is None and rank(right) != 2:
        return f"its weight has {rank(right)} dimensions; Ascend needs 2"
    return reason


def _refuse_average_pool(node: Node) -> str | None:
    reason = _activation_reason(node)
    if reason is not None:
        return reason
    source = node.input(0)
    kind = None if source is None else source.tensor.dtype or node.output.tensor.dtype
    if kind is None:
        return "its element type is unknown; run infer-types before insert-quant"
    if kind is not DType.F32:
        return f"it pools {kind.value}; Ascend quantizes pooling of float32 only"
    size = len(_ints(node, "kernel_shape"))
    if size != 2:
        return f"it pools over {size} spatial dimensions; Ascend quantizes pooling over 2 only"
    if any(d != 1 for d in _ints(node, "dilations")):
        return "it is dilated; Ascend quantizes plain pooling only"
    return None


def _tensor(node: Node, index: int) -> str | None:
    """Why input `index` of a MaxPool or Add cannot travel as integers."""
    value = node.input(index)
    if value is None or index > (0 if node.op == "MaxPool" else 1):
        return f"{node.op} has no data input {index}"
    if value.constant is not None:
        return f"its input '{value.name}' is a constant; there is nothing to calibrate"
    if value.tensor.dtype not in (DType.F32, None):
        return (
            f"its input '{value.name}' is {value.tensor.dtype.value}; Ascend quantizes float32 tensors only"
        )
    return None


def _operand(role: str, index: int) -> OperandRule:
    specs: dict[str, Callable[[Node], QuantSpec]] = {"weight": _weight, "bias": _bias}
    if role == "activation":
        return OperandRule("activation", index, _activation)
    return OperandRule("weight" if role == "weight" else "bias", index, specs[role])


_THREE = (_operand("activation", 0), _operand("weight", 1), _operand("bias", 2))
_MATMUL = (
    _operand("activation", 0),
    _operand("weight", 1),
    _operand("bias", 1),
)  # bias: input 1 of the Add behind


def _op(
    name: str, operands: tuple[OperandRule, ...], refuse: Refusal, int16: Refusal | None = None
) -> OpRule:
    return OpRule(name, operands, partial(_refuse, refuse), partial(precision_reason, int16))


_RECURRENT = "Ascend runs recurrent layers in float"
_BODY = "Ascend runs the bodies of control flow in float"

RULES = TargetRules(
    name="ascend",
    ops={
        rule.op: rule
        for rule in (
            _op("Conv", _THREE, _refuse_conv, int16_conv),
            _op("ConvTranspose", _THREE, _refuse_conv_transpose, int16_conv),
            _op("Gemm", _THREE, _refuse_gemm, int16_gemm),
            _op("MatMul", _MATMUL, _refuse_matmul),
            _op("AveragePool", (_operand("activation", 0),), _refuse_average_pool),
        )
    },
    notes={
        "LSTM": _RECURRENT,
        "GRU": _RECURRENT,
        "RNN": _RECURRENT,
        "If": _BODY,
        "Loop": _BODY,
        "Scan": _BODY,
        "Einsum": "Ascend has no INT8 form of Einsum",
        "DeformConv": "Ascend has no INT8 form of deformable convolution",
        "Attention": "Ascend has no INT8 form of attention whose operands are computed at run time",
        "GlobalAveragePool": "Ascend quantizes AveragePool, not global pooling",
    },
    tensors={"MaxPool": _tensor, "Add": _tensor},
    weight_bits=WEIGHT_BITS,
    precisions=PRECISIONS,
)
"""The rules of the Ascend target."""
