"""AscendQuant, AscendDequant and AscendAntiQuant as data: their attributes read and checked."""

from __future__ import annotations

from dataclasses import dataclass

from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.node import Node, Value
from qir.runtime.deploy.fields import (
    array_field,
    check_known,
    describe,
    float_field,
    integer_field,
    text_field,
)
from qir.runtime.deploy.params import DequantParams, unpack_params

QUANT, DEQUANT, ANTI_QUANT = "AscendQuant", "AscendDequant", "AscendAntiQuant"
DOMAINS = ("", "ai.onnx")
_STORED = {"INT8": DType.I8, "INT16": DType.I16, "INT4": DType.I4}
_RESULTS = {0: DType.F32, 1: DType.F16}  # GE's DT_FLOAT and DT_FLOAT16
_ROUNDINGS = ("Round", "Floor", "Ceil", "Trunc")
_FLAG = (0, 1)


@dataclass(frozen=True)
class QuantStep:
    """AscendQuant: q = clip(round(x * factor [* factor]) + offset, qmin, qmax), all in float32.

    `factor` is the reciprocal of the scale and is applied twice in `sqrt_mode`. Rounding mode "Round" goes
    half to even, as AMCT's.
    """

    node: Node
    source: Value
    factor: float
    offset: int
    stored: DType
    rounding: str
    sqrt_mode: bool

    @property
    def centred_range(self) -> tuple[int, int]:
        """The least and greatest q - offset."""
        qmin, qmax = self.stored.integer_range
        return qmin - self.offset, qmax - self.offset

    @property
    def largest(self) -> int:
        """The greatest |q - offset|."""
        return max(map(abs, self.centred_range))


@dataclass(frozen=True)
class DequantStep:
    """AscendDequant: y = acc * scale [* scale], see `params`; then Relu when `relu`, then a cast to `result`.

    With any shift N the accumulator is first floor(acc / 2^N), clipped to int16, and multiplied by 2^N behind
    the scale.
    """

    node: Node
    accumulator: Value
    params: DequantParams
    result: DType
    relu: bool
    sqrt_mode: bool


@dataclass(frozen=True)
class AntiQuantStep:
    """AscendAntiQuant: y = (q - offset) * scale [* scale], cast to `result`."""

    node: Node
    source: Value
    scale: float
    offset: int
    stored: DType
    result: DType
    sqrt_mode: bool


def is_op(node: Node, *ops: str) -> bool:
    """True for a node of one of these ops of the default domain."""
    return node.op in ops and node.domain in DOMAINS


def read_quant(node: Node) -> QuantStep:
    """ModelError unless every attribute is of the right type and has a known value."""
    check_known(node, ("scale", "offset", "dst_type", "round_mode", "sqrt_mode"))
    stored = _STORED[text_field(node, "dst_type", "INT8", tuple(_STORED))]
    factor = _positive(node)
    offset = _offset(node, stored)
    rounding = text_field(node, "round_mode", "Round", _ROUNDINGS)
    if rounding == "Trunc" and offset:
        raise ModelError(
            f"{describe(node)} has round_mode 'Trunc' and offset {offset}: whether the offset is added "
            "before or after truncation is not specified; use offset 0 or another round_mode"
        )
    sqrt_mode = bool(integer_field(node, "sqrt_mode", 0, _FLAG))
    return QuantStep(node, _source(node), factor, offset, stored, rounding, sqrt_mode)


def read_dequant(node: Node) -> DequantStep:
    """As `read_quant`; the parameters are unpacked.

    ModelError for a deq_scale of another shape than [1] or [channels].
    """
    check_known(node, ("dtype", "relu_flag", "sqrt_mode"))
    packed = array_field(node, 1, "deq_scale", DType.U64)
    if packed.ndim != 1 or not packed.size:
        raise ModelError(
            f"the deq_scale (input 1) of {describe(node)} has shape {list(packed.shape)}; it must be [1] or "
            "[number of output channels]"
        )
    return DequantStep(
        node,
        _source(node),
        unpack_params(packed, node.name),
        _RESULTS[integer_field(node, "dtype", 0, _RESULTS)],
        bool(integer_field(node, "relu_flag", 0, _FLAG)),
        bool(integer_field(node, "sqrt_mode", 0, _FLAG)),
    )


def read_anti_quant(node: Node) -> AntiQuantStep:
    """As `read_quant`."""
    check_known(node, ("scale", "offset", "dst_type", "dtype", "sqrt_mode"))
    stored = _STORED[text_field(node, "dst_type", "INT8", tuple(_STORED))]
    return AntiQuantStep(
        node,
        _source(node),
        _positive(node),
        _offset(node, stored),
        stored,
        _RESULTS[integer_field(node, "dtype", 0, _RESULTS)],
        bool(integer_field(node, "sqrt_mode", 0, _FLAG)),
    )


def _source(node: Node) -> Value:
    source = node.input(0)
    if source is None:
        raise ModelError(f"{describe(node)} has no input 0")
    return source


def _positive(node: Node) -> float:
    scale = float_field(node, "scale")
    if scale <= 0:
        raise ModelError(f"attribute 'scale' of {describe(node)} is {scale}; it must be above 0")
    return scale


def _offset(node: Node, stored: DType) -> int:
    offset = float_field(node, "offset")
    low, high = stored.integer_range
    if offset != int(offset) or not low <= offset <= high:
        raise ModelError(
            f"attribute 'offset' of {describe(node)} is {offset}; it must be a whole number from "
            f"{low} to {high}"
        )
    return int(offset)
