"""The rules that types, quantizations, attributes and constants must keep, each broken one as a sentence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import LIST_KINDS, Attribute, EmptyList, Node, Value, element_kind
from qir.ir.printer import print_type
from qir.ir.types import (
    Dim,
    MapType,
    OptionalType,
    Quant,
    QuantParams,
    QuantSpec,
    SequenceType,
    SparseTensorType,
    TensorType,
    spec_of,
)

_CASTS = (DType.F16, DType.BF16, DType.F32, DType.F64)
"""Types to which quantization is a cast, without a scale."""
_INT64 = range(-(1 << 63), 1 << 63)


def type_problems(kind: object, nested: bool = False) -> Iterator[str]:
    """What is wrong with a type, its quantization but for the fit to the shape left aside."""
    if isinstance(kind, (SequenceType, OptionalType)):
        yield from type_problems(kind.element, nested=True)
    elif isinstance(kind, MapType):
        if not isinstance(kind.key, DType):
            yield f"the key of a map is a DType, not {kind.key!r}"
        elif not kind.key.is_element:
            yield _no_element(kind.key)
        yield from type_problems(kind.value, nested=True)
    elif not isinstance(kind, (TensorType, SparseTensorType)):
        yield f"a type is one of the classes of qir.ir.types, not {kind!r}"
    elif kind.dtype is not None and not isinstance(kind.dtype, DType):
        yield f"an element type is a DType or None, not {kind.dtype!r}"
    elif kind.dtype is not None and not kind.dtype.is_element:
        yield _no_element(kind.dtype)
    elif kind.shape is not None and not (isinstance(kind.shape, tuple) and all(map(_is_dim, kind.shape))):
        yield f"a shape is a tuple of numbers from 0 on, symbols and None (or None), not {kind.shape!r}"
    elif nested and isinstance(kind, TensorType) and kind.quant is not None:
        yield "only the result of qir.quant is quantized, not the elements of a sequence, optional or map"


def _no_element(dtype: DType) -> str:
    return f"{dtype.value} is a type of quantization (stored in i8), not of the elements of a tensor"


def _is_dim(dim: Dim) -> bool:
    return dim is None or isinstance(dim, str) or (isinstance(dim, int) and dim >= 0)


def constant_problems(value: Value) -> Iterator[str]:
    """What is wrong with a value that holds data."""
    if value.constant is not None and value.type != value.constant.type:
        found, wanted = _show(value.type), print_type(value.constant.type)
        yield f"the type of constant '{value.name}' is {found}, but its data are {wanted}"


def _show(kind: object) -> str:
    try:
        return print_type(kind)  # type: ignore[arg-type]  # anything may stand in a broken graph
    except (AttributeError, TypeError, ValueError):
        return repr(kind)


def quant_node_problems(node: Node) -> Iterator[str]:
    """What is wrong with a `qir.quant` node: its operands, its types, its quantization."""
    if len(node.inputs) not in (1, 2) or len(node.outputs) != 1 or None in (*node.inputs, *node.outputs):
        yield (
            "a quant has one input, or two for error compensation, and one output, "
            f"not {len(node.inputs)} and {len(node.outputs)}"
        )
        return
    if node.attributes:
        yield f"a quant has no attributes, but this one has {', '.join(sorted(node.attributes))}"
    source, made = node.inputs[0], node.output
    assert source is not None
    if len(node.inputs) == 2:
        yield from _compensation_problems(node)
    if not isinstance(source.type, TensorType) or not isinstance(made.type, TensorType):
        yield "a quant reads and makes a tensor"
        return
    dtype, quant = source.type.dtype, made.type.quant
    if dtype is not None and not dtype.is_float:
        yield f"a quant reads a float tensor, but '{source.name}' is {dtype.value}"
    if (dtype, source.type.shape) != (made.type.dtype, made.type.shape):
        result, read = print_type(made.type.with_quant(None)), print_type(source.type.with_quant(None))
        yield f"the result of a quant has the element type and shape of its input: {read}, not {result}"
    elif quant is None:
        yield "the type of the result of a quant says how it is quantized; this one does not"
    else:
        yield from quant_problems(quant, made.type.shape)


def _compensation_problems(node: Node) -> Iterator[str]:
    """What is wrong with a quant that rounds what another leaves of a value."""
    source, coarse = node.inputs
    assert source is not None
    assert coarse is not None
    first, quant = coarse.producer, node.output.type
    if first is None or (first.op, first.domain) != (node.op, node.domain) or len(first.inputs) != 1:
        yield f"input 1 of a quant is a quant of one input, whose rest it rounds; '{coarse.name}' is none"
    elif first.inputs[0] is not source:
        yield f"both quants of error compensation round one value, not '{source.name}' and another"
    for made in (coarse.type, quant):
        spec = None if not isinstance(made, TensorType) or made.quant is None else spec_of(made.quant)
        if spec is not None and not spec.qtype.is_integer:
            yield f"error compensation adds integers, not {spec.qtype.value}"


def quant_problems(quant: Quant, shape: tuple[Dim, ...] | None) -> Iterator[str]:
    """What is wrong with a quantization of a tensor of `shape`."""
    spec = spec_of(quant)
    if not (spec.qtype.is_integer or spec.qtype.is_float):
        yield f"tensors are quantized to integers or floats, not to {spec.qtype.value}"
        return
    if spec.axis is not None and (spec.axis < 0 or (shape is not None and spec.axis >= len(shape))):
        rank = "the tensor" if shape is None else f"a tensor of {len(shape)} dimensions"
        yield f"the channel axis {spec.axis} is not an axis of {rank}; axes count from 0"
        return
    yield from _group_problems(spec, shape)
    if isinstance(quant, QuantParams):
        yield from _params_problems(quant, shape)


def _group_problems(spec: QuantSpec, shape: tuple[Dim, ...] | None) -> Iterator[str]:
    if spec.groups < 1:
        yield f"groups={spec.groups} of a quantization is not a positive number"
    elif spec.groups > 1 and spec.axis != 1:
        yield f"groups={spec.groups} divide axis 0 of a tensor with channel axis 1, not axis={spec.axis}"
    elif spec.groups > 1 and shape is not None and isinstance(shape[0], int) and shape[0] % spec.groups:
        yield f"groups={spec.groups} do not divide the first dimension {shape[0]}"


def _params_problems(params: QuantParams, shape: tuple[Dim, ...] | None) -> Iterator[str]:
    spec, count = params.spec, len(params.scale)
    if count == 0:
        if spec.qtype.is_integer:
            yield f"a closed quantization to {spec.qtype.value} needs a scale"
        return
    if spec.qtype in _CASTS:
        yield f"a quantization to {spec.qtype.value} is a cast; it has no scale, but here are {count}"
        return
    wanted = _channels(spec, shape)
    if wanted is not None and count != wanted:
        yield f"the quantized axis has {wanted} channels, but there are {count} scales"
    bad = next((s for s in params.scale if not (np.isfinite(s) and s > 0)), None)
    if bad is not None:
        yield f"a scale is finite and greater than 0, not {bad}"
    if not spec.qtype.is_integer:
        return
    low, high = spec.qtype.integer_range
    outside = next((z for z in params.zero_point if not low <= z <= high), None)
    if outside is not None:
        yield f"the zero point {outside} is out of the range {low}…{high} of {spec.qtype.value}"
    if spec.symmetric and any(params.zero_point):
        yield f"a symmetric quantization has zero point 0, not {next(z for z in params.zero_point if z)}"


def _channels(spec: QuantSpec, shape: tuple[Dim, ...] | None) -> int | None:
    """The number of scales a tensor must have; None when its shape does not say."""
    if spec.axis is None:
        return 1
    size = None if shape is None else shape[spec.axis]
    return size * spec.groups if isinstance(size, int) else None


def attribute_problems(name: str, item: Attribute) -> Iterator[str]:
    """What is wrong with an attribute: it must be of the closed union `Attribute`."""
    if not isinstance(name, str) or not name:
        yield f"an attribute name is a non-empty text, not {name!r}"
    elif isinstance(item, EmptyList):
        if item.kind not in LIST_KINDS:
            yield f"attribute '{name}' is an empty list of unknown kind '{item.kind}'"
    elif isinstance(item, tuple):
        if not item:
            yield f"attribute '{name}' is an empty list and must say of what: EmptyList('ints')"
        for element in item:
            yield from _element_problems(name, element)
        kinds = tuple(dict.fromkeys(map(element_kind, item)))
        if len(kinds) > 1:
            yield f"attribute '{name}' is a list of {' and '.join(kinds)}; a list holds one kind"
    else:
        yield from _element_problems(name, item)


def _element_problems(name: str, item: Attribute) -> Iterator[str]:
    if isinstance(item, int):
        if item not in _INT64:
            yield f"attribute '{name}' is {item}, which an int64 cannot hold"
    elif isinstance(item, float):
        with np.errstate(over="ignore"):
            rounded = float(np.float32(item))
        if rounded != item and item == item:
            yield f"attribute '{name}' is {item!r}, no float32 number; the nearest is {rounded!r}"
    elif isinstance(item, (TensorType, SparseTensorType, SequenceType, OptionalType, MapType)):
        for problem in type_problems(item):
            yield f"attribute '{name}': {problem}"
    elif not isinstance(item, (str, bytes, Constant, Graph)):
        yield (
            f"attribute '{name}' is of type {type(item).__name__}; attributes are numbers, text, bytes, "
            "constants, types, graphs or tuples of them"
        )
