"""Prints a graph as IR text. `parser.py` reads it back identically; the grammar stands there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.types import (
    UNKNOWN,
    Dim,
    MapType,
    OptionalType,
    Quant,
    QuantParams,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    spec_of,
)

if TYPE_CHECKING:  # the graph prints itself with this module
    from qir.ir.graph import Graph
    from qir.ir.node import Attribute, Node, Value

PLAIN = re.compile(r"[A-Za-z_][\w.]*(?:/(?!/)[\w.]*)*", re.ASCII)
"""Names that need no quotes; `//` would begin a comment."""
_PLAIN_OP = re.compile(r"(?!const\b)[A-Za-z_]\w*", re.ASCII)  # a dot ends the domain, `const` is no node
_PRINTABLE = re.compile(r"[ !#-\[\]-~]*")  # ASCII without quote and backslash
_INLINE_ELEMENTS = 8
_INLINE_BYTES = 16
_INLINE_SCALES = 4


def quote(text: str) -> str:
    """A double-quoted string with backslash escapes; every character outside printable ASCII is escaped."""
    if _PRINTABLE.fullmatch(text):
        return f'"{text}"'
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c) or (c if " " <= c <= "~" else _escape(ord(c))) for c in text) + '"'


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain_or_quoted(name: str) -> str:
    """The name itself when it is a plain word, otherwise quoted."""
    return name if PLAIN.fullmatch(name) else quote(name)


def value_name(value: Value | None) -> str:
    """`%name`, or `-` for an absent value."""
    return "-" if value is None else "%" + plain_or_quoted(value.name)


def number(x: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    return str(np.float32(x))


def print_type(kind: Type) -> str:
    """A type as text: `f32[N,3]!i8<scale=0.5 zero=0>`, `seq(f32[?])`, `f32?` for unknown rank, or `?`."""
    if isinstance(kind, SequenceType):
        return f"seq({print_type(kind.element)})"
    if isinstance(kind, OptionalType):
        return f"optional({print_type(kind.element)})"
    if isinstance(kind, MapType):
        return f"map({kind.key.value}, {print_type(kind.value)})"
    if isinstance(kind, SparseTensorType):
        return f"sparse({print_type(TensorType(kind.dtype, kind.shape))})"
    if kind == UNKNOWN:
        return "?"
    dtype = "?" if kind.dtype is None else kind.dtype.value
    shape = "?" if kind.shape is None else "[" + ",".join(_dim(d) for d in kind.shape) + "]"
    return dtype + shape + ("" if kind.quant is None else "!" + print_quant(kind.quant))


def _dim(dim: Dim) -> str:
    return "?" if dim is None else str(dim) if isinstance(dim, int) else plain_or_quoted(dim)


def print_quant(quant: Quant) -> str:
    """`i8<asym axis=0>` while open, `i8<axis=0 scale=… zero=…>` closed, `f16<closed>` a closed cast."""
    spec = spec_of(quant)
    parts = [] if spec.symmetric else ["asym"]
    if spec.axis is not None:
        parts.append(f"axis={spec.axis}")
    if spec.groups != 1:
        parts.append(f"groups={spec.groups}")
    if isinstance(quant, QuantParams):
        if not quant.scale:
            parts.append("closed")
        else:
            parts += [f"scale={_scales(quant)}", f"zero={_zeros(quant)}"]
    return spec.qtype.value + (f"<{' '.join(parts)}>" if parts else "")


def _scales(params: QuantParams) -> str:
    if len(params.scale) == 1:
        return number(params.scale[0])
    if len(params.scale) <= _INLINE_SCALES:
        return "[" + ",".join(number(s) for s in params.scale) + "]"
    return "#" + Constant.of(params.scale_array()).digest


def _zeros(params: QuantParams) -> str:
    if len(set(params.zero_point)) == 1:
        return str(params.zero_point[0])
    if len(params.zero_point) <= _INLINE_SCALES:
        return "[" + ",".join(map(str, params.zero_point)) + "]"
    return "#" + Constant.of(params.zero_point_array()).digest


def external_constants(quant: Quant | None) -> Iterable[Constant]:
    """The scale and zero-point lists of a quantization that print as digests."""
    if isinstance(quant, QuantParams) and len(quant.scale) > _INLINE_SCALES:
        yield Constant.of(quant.scale_array())
        if len(set(quant.zero_point)) > 1:
            yield Constant.of(quant.zero_point_array())


def is_inline(constant: Constant) -> bool:
    """True when a constant is small enough (or a string tensor) to stand in the text itself."""
    if constant.dtype is DType.STR:
        return True
    if constant.dtype.numpy is None:
        return constant.data.size <= _INLINE_BYTES
    if constant.size > _INLINE_ELEMENTS or constant.data.dtype.kind == "c":
        return False
    return _has_plain_nans(constant)


def _has_plain_nans(constant: Constant) -> bool:
    """False where a NaN has a sign or payload, which its decimal `nan` would lose."""
    if constant.data.dtype.kind != "f":
        return True
    nans = constant.data[np.isnan(constant.data)]
    return bool(np.full_like(nans, np.nan).tobytes() == nans.tobytes())


def print_constant(constant: Constant) -> str:
    """`const [1,2] : i64[2]`, `const x"803f" : bf16[]`, or, by digest, `const #1f3a9c02 : f32[8,3,3]`."""
    if not is_inline(constant):
        return f"const #{constant.digest} : {print_type(constant.type)}"
    if constant.dtype.numpy is None:
        return f'const x"{constant.data.tobytes().hex()}" : {print_type(constant.type)}'
    items = [_element(x, constant.dtype) for x in constant.data.reshape(-1)]
    data = items[0] if constant.shape == () else "[" + ",".join(items) + "]"
    return f"const {data} : {print_type(constant.type)}"


def _element(x: object, dtype: DType) -> str:
    if isinstance(x, bytes):
        return quote_bytes(x)
    if dtype is DType.BOOL:
        return "true" if x else "false"
    return str(x)


def quote_bytes(data: bytes) -> str:
    """`"text"` for UTF-8, otherwise `x"hexadecimal"`."""
    try:
        return quote(data.decode())
    except UnicodeDecodeError:
        return f'x"{data.hex()}"'


def print_attribute(item: Attribute, indent: str = "") -> str:
    """An attribute as text; `indent` is that of the lines of a graph."""
    if isinstance(item, bytes):
        return f'x"{item.hex()}"'
    if isinstance(item, str):
        return quote(item)
    if isinstance(item, float):
        return _float(item)
    if isinstance(item, int):
        return str(int(item))
    if isinstance(item, Constant):
        return print_constant(item)
    if isinstance(item, (TensorType, SparseTensorType, SequenceType, OptionalType, MapType)):
        return f"type {print_type(item)}"
    if isinstance(item, tuple):
        if not item:
            return f"[]:{getattr(item, 'kind', 'ints')}"
        return "[" + ",".join(print_attribute(x, indent) for x in item) + "]"
    return _graph(item, indent)


def _float(x: float) -> str:
    text = number(x)
    return text if any(c in text for c in ".en") else text + ".0"


def _metadata(items: Mapping[str, str]) -> str:
    return "@{" + ", ".join(f"{plain_or_quoted(k)}={quote(items[k])}" for k in sorted(items)) + "}"


def print_node(node: Node, indent: str = "  ") -> str:
    """One node as a line (several when it holds subgraphs), without indentation before it."""
    outputs = ", ".join(value_name(v) for v in node.outputs)
    op = node.op if _PLAIN_OP.fullmatch(node.op) else quote(node.op)
    if node.domain:
        op = f"{plain_or_quoted(node.domain)}.{op}"
    first = node.outputs[0] if node.outputs else None
    name = "" if first is not None and first.name == node.name else " " + quote(node.name)
    line = f"{outputs} = {op}{name}({', '.join(value_name(v) for v in node.inputs)})".lstrip()
    if node.attributes:
        pairs = (
            f"{plain_or_quoted(k)}={print_attribute(node.attributes[k], indent)}"
            for k in sorted(node.attributes)
        )
        line += " {" + ", ".join(pairs) + "}"
    if node.metadata:
        line += " " + _metadata(node.metadata)
    types = ", ".join("-" if v is None else print_type(v.type) for v in node.outputs)
    return f"{line} : {types}" if types else line


def _graph(graph: Graph, indent: str) -> str:
    inner = indent + "  "
    inputs = ", ".join(f"{value_name(v)}: {print_type(v.type)}" for v in graph.inputs)
    lines = [f"graph @{plain_or_quoted(graph.name)}({inputs}) {{"]
    if graph.opsets:
        pairs = ", ".join(f"{quote(k) if k else 'onnx'}={graph.opsets[k]}" for k in sorted(graph.opsets))
        lines.append(f"{inner}opsets {{{pairs}}}")
    if graph.metadata:
        lines.append(f"{inner}metadata {_metadata(graph.metadata)}")
    for value in graph.constants:
        assert value.constant is not None
        lines.append(f"{inner}{value_name(value)} = {print_constant(value.constant)}")
    lines += [inner + print_node(node, inner) for node in graph.nodes]
    lines.append(f"{inner}return {', '.join(value_name(v) for v in graph.outputs)}".rstrip())
    lines.append(indent + "}")
    return "\n".join(lines)


def print_graph(graph: Graph) -> str:
    """The whole graph as text, ending in a newline; large constants appear by digest."""
    return _graph(graph, "") + "\n"
