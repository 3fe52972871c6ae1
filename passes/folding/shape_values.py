"""Arithmetic on shapes: small integer tensors of which some elements are known although others are not.

`Shape` of an image of unknown batch size is `[?, 3, 224, 224]`; its element 2 is known, and so is whatever
the exporter computes from it. Each rule takes the elements of a node's inputs and gives those of its output.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value

_MOST_ELEMENTS = 1024
_Array = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Elements:
    """An integer or boolean tensor; `array` holds Python integers and booleans, None where unknown."""

    dtype: DType
    array: _Array

    @property
    def is_known(self) -> bool:
        """True when every element is."""
        return all(x is not None for x in self.array.flat)

    @property
    def constant(self) -> Constant:
        """The constant of a tensor that is known."""
        return Constant.of(self.array.astype(self.dtype.numpy))


Known = Mapping[Value, Elements]
_Arguments = tuple["Elements | None", ...]
_Rule = Callable[[Node, _Arguments], "Elements | None"]


def shape_values(graph: Graph) -> Known:
    """The elements of all node outputs of `graph` (not of its subgraphs) of which the rules know something.

    One visit in running order; tensors of more than 1024 elements are nobody's shape and left out.
    """
    known: dict[Value, Elements] = {}
    for node in graph.nodes:
        rule = _RULES.get(node.op) if node.domain == "" else None
        if rule is None or len(node.outputs) != 1 or node.outputs[0] is None:
            continue
        try:
            found = rule(node, tuple(_elements(v, known) for v in node.inputs))
        except (IndexError, ValueError):
            continue  # the node is invalid; running the model will say how
        if found is not None and found.array.size <= _MOST_ELEMENTS and _in_range(found):
            known[node.output] = found
    return known


def _elements(value: Value | None, known: Known) -> Elements | None:
    held = None if value is None else value.constant
    if held is None:
        return None if value is None else known.get(value)
    if not (held.dtype.is_integer or held.dtype is DType.BOOL) or held.dtype.numpy is None:
        return None
    return Elements(held.dtype, held.array.astype(object)) if held.size <= _MOST_ELEMENTS else None


def _in_range(found: Elements) -> bool:
    """Python integers do not overflow; where the tensor's would, ONNX Runtime shall say what happens."""
    if found.dtype is DType.BOOL:
        return True
    low, high = found.dtype.integer_range
    return all(x is None or low <= x <= high for x in found.array.flat)


def _array(items: object) -> _Array:
    return np.array(items, dtype=object)


def _integers(arguments: _Arguments, i: int) -> list[int] | None:
    """Input `i` as a flat list of integers when all of it is known."""
    found = arguments[i] if i < len(arguments) else None
    return [int(x) for x in found.array.flat] if found is not None and found.is_known else None


def _dimensions(node: Node) -> list[int | None] | None:
    source = node.input(0)
    shape = None if source is None else source.tensor.shape
    return None if shape is None else [d if isinstance(d, int) else None for d in shape]


def _shape(node: Node, _: _Arguments) -> Elements | None:
    dims = _dimensions(node)
    if dims is None:
        return None
    start, end = node.attributes.get("start", 0), node.attributes.get("end")  # both since opset 15
    assert isinstance(start, int)
    assert end is None or isinstance(end, int)
    return Elements(DType.I64, _array(dims[start:end]))


def _size(node: Node, _: _Arguments) -> Elements | None:
    dims = _dimensions(node)
    known = [d for d in dims or [None] if d is not None]
    whole = dims is not None and len(known) == len(dims)
    return Elements(DType.I64, _array(math.prod(known))) if whole else None


def _gather(node: Node, arguments: _Arguments) -> Elements | None:
    data, indices = arguments[0], arguments[1]
    axis = node.attributes.get("axis", 0)
    if data is None or indices is None or not indices.is_known or not isinstance(axis, int):
        return None
    length = data.array.shape[axis]
    positions = indices.array.astype(np.int64)
    if np.any(positions < -length) or np.any(positions >= length):
        return None  # invalid; running the model will say so
    return Elements(data.dtype, _array(np.take(data.array, positions, axis)))


def _slice(node: Node, arguments: _Arguments) -> Elements | None:
    """Opset 10 made starts, ends, axes and steps inputs; before, the first three are attributes."""
    data = arguments[0]
    if data is None:
        return None
    keys = ("starts", "ends", "axes", "steps")
    given = [_given(node, arguments, key, i) for i, key in enumerate(keys, 1)]
    starts, ends = given[0], given[1]
    if starts is None or ends is None or any(g is None and node.input(i) for i, g in enumerate(given, 1)):
        return None
    axes = given[2] if given[2] is not None else list(range(len(starts)))
    steps = given[3] if given[3] is not None else [1] * len(starts)
    index = [slice(None)] * data.array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index[axis] = _clamped(start, end, step, data.array.shape[axis])
    return Elements(data.dtype, data.array[tuple(index)])


def _given(node: Node, arguments: _Arguments, key: str, i: int) -> list[int] | None:
    held = node.attributes.get(key)
    if isinstance(held, tuple):
        return [n for n in held if isinstance(n, int)]
    return _integers(arguments, i)


def _clamped(start: int, end: int, step: int, length: int) -> slice:
    """The Python slice with ONNX's meaning of bounds beyond either end."""
    start += length if start < 0 else 0
    end += length if end < 0 else 0
    if step > 0:
        return slice(min(max(start, 0), length), min(max(end, 0), length), step)
    stop = min(max(end, -1), length - 1)
    return slice(min(max(start, 0), length - 1), None if stop < 0 else stop, step)


def _concat(node: Node, arguments: _Arguments) -> Elements | None:
    axis = node.attributes.get("axis", 0)
    given = [a for a in arguments if a is not None]
    if len(given) < len(arguments) or not isinstance(axis, int):
        return None
    return Elements(given[0].dtype, np.concatenate([a.array for a in given], axis))


def _axes(node: Node, arguments: _Arguments) -> tuple[int, ...] | None:
    """Opset 13 made the axes input 1; before they are an attribute."""
    axes = _given(node, arguments, "axes", 1)
    return None if axes is None else tuple(axes)


def _unsqueeze(node: Node, arguments: _Arguments) -> Elements | None:
    data, axes = arguments[0], _axes(node, arguments)
    if data is None or axes is None:
        return None
    return Elements(data.dtype, np.expand_dims(data.array, axes))


def _squeeze(node: Node, arguments: _Arguments) -> Elements | None:
    data, axes = arguments[0], _axes(node, arguments)
    if data is None or (axes is None and node.input(1) is not None):
        return None
    return Elements(data.dtype, np.squeeze(data.array, axes))


def _reshape(node: Node, arguments: _Arguments) -> Elements | None:
    data, target = arguments[0], _integers(arguments, 1)
    if data is None or target is None or node.attributes.get("allowzero"):
        return None
    shape = [data.array.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return Elements(data.dtype, data.array.reshape(shape))


def _transpose(node: Node, arguments: _Arguments) -> Elements | None:
    data, perm = arguments[0], node.attributes.get("perm")
    order = [n for n in perm if isinstance(n, int)] if isinstance(perm, tuple) else None
    return None if data is None else Elements(data.dtype, data.array.transpose(order))


def _cast(node: Node, arguments: _Arguments) -> Elements | None:
    """To the element type of the output, which `infer-types` knows; floats are left to ONNX Runtime."""
    data, dtype = arguments[0], node.output.tensor.dtype
    if data is None or dtype is None or dtype.numpy is None:
        return None
    if not (dtype.is_integer or dtype is DType.BOOL):
        return None
    convert = bool if dtype is DType.BOOL else int
    return Elements(dtype, _each(convert, data.array))


def _each(function: Callable[..., object], *arrays: _Array) -> _Array:
    """`function` on each tuple of elements, broadcast; unknown where one of them is."""

    def known(*items: object) -> object:
        return None if any(x is None for x in items) else function(*items)

    return _array(np.frompyfunc(known, len(arrays), 1)(*arrays))


def _elementwise(function: Callable[..., object], dtype: DType | None = None) -> _Rule:
    """The rule of an op that applies `function`; the result has the inputs' element type or the given one."""

    def rule(_: Node, arguments: _Arguments) -> Elements | None:
        given = [a for a in arguments if a is not None]
        if len(given) < len(arguments):
            return None
        return Elements(dtype or given[0].dtype, _each(function, *(a.array for a in given)))

    return rule


def _maximum(*items: int) -> int:
    return max(items)


def _minimum(*items: int) -> int:
    return min(items)


def _divide(a: int, b: int) -> int | None:
    """Towards zero, as C does."""
    if b == 0:
        return None
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _where(_: Node, arguments: _Arguments) -> Elements | None:
    condition, yes, no = arguments
    if condition is None or yes is None or no is None or not condition.is_known:
        return None
    return Elements(yes.dtype, _array(np.where(condition.array.astype(bool), yes.array, no.array)))


def _constant_of_shape(node: Node, arguments: _Arguments) -> Elements | None:
    shape, value = _integers(arguments, 0), node.attributes.get("value")
    if shape is None or math.prod(shape) > _MOST_ELEMENTS or not isinstance(value, Constant):
        return None
    if not value.dtype.is_integer or value.dtype.numpy is None:
        return None
    return Elements(value.dtype, np.full(shape, int(value.array.reshape(-1)[0]), object))


def _identity(_: Node, arguments: _Arguments) -> Elements | None:
    return arguments[0]


_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "Add": _elementwise(operator.add),
        "Cast": _cast,
        "Concat": _concat,
        "ConstantOfShape": _constant_of_shape,
        "Div": _elementwise(_divide),
        "Equal": _elementwise(operator.eq, DType.BOOL),
        "Gather": _gather,
        "Identity": _identity,
        "Max": _elementwise(_maximum),
        "Min": _elementwise(_minimum),
        "Mul": _elementwise(operator.mul),
        "Neg": _elementwise(operator.neg),
        "Reshape": _reshape,
        "Shape": _shape,
        "Size": _size,
        "Slice": _slice,
        "Squeeze": _squeeze,
        "Sub": _elementwise(operator.sub),
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
        "Where": _where,
    }
)
