"""Random valid graphs with odd names, subgraphs and every kind of attribute, constant and quantization."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import LIST_KINDS, Attribute, EmptyList, Value
from qir.ir.types import (
    UNKNOWN,
    MapType,
    OptionalType,
    QuantParams,
    QuantSpec,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=6)  # lone surrogates too
NAMES = st.one_of(
    st.sampled_from(
        ["x", "conv1", "/layer/Conv_output_0", "a//b", "const", "graph", "x_1", "x_2", "a.b.", "é"]
    ),
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=6),
)
FLOATS = st.floats(width=32).map(lambda x: math.nan if math.isnan(x) else x)
DTYPES = st.sampled_from([dtype for dtype in DType if dtype.is_element])
DIMS = st.one_of(st.integers(0, 5), st.none(), ANY_TEXT)
TENSOR_TYPES = st.builds(TensorType, st.none() | DTYPES, st.none() | st.lists(DIMS, max_size=4).map(tuple))
TYPES: st.SearchStrategy[Type] = st.recursive(
    TENSOR_TYPES
    | st.builds(SparseTensorType, st.none() | DTYPES, st.none() | st.lists(DIMS, max_size=3).map(tuple)),
    lambda inner: (
        st.builds(SequenceType, inner) | st.builds(OptionalType, inner) | st.builds(MapType, DTYPES, inner)
    ),
    max_leaves=3,
)
SCALES = st.floats(2.0**-20, 2.0**20, width=32)


@st.composite
def constants(draw: st.DrawFn) -> Constant:
    dtype = draw(DTYPES)
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    size = math.prod(shape)
    if dtype is DType.STR:
        items = [draw(st.binary(max_size=4)) for _ in range(size)]
        return Constant(dtype, shape, np.array([*items, None], dtype=object)[:-1].reshape(shape))
    if dtype.numpy is None:
        count = (size * dtype.bits + 7) // 8
        return Constant(
            dtype, shape, np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
        )
    count = size * dtype.numpy.itemsize
    data = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    if dtype is DType.BOOL:
        data = data % 2
    return Constant(dtype, shape, data.view(dtype.numpy).reshape(shape))  # any bits: odd NaNs, denormals


SCALARS: st.SearchStrategy[Attribute] = st.one_of(
    st.integers(-(2**63), 2**63 - 1), FLOATS, ANY_TEXT, st.binary(max_size=4), constants(), TYPES
)
LISTS: st.SearchStrategy[Attribute] = st.one_of(
    st.sampled_from(LIST_KINDS).map(EmptyList),
    *(
        st.lists(items, min_size=1, max_size=3).map(tuple)
        for items in (st.integers(-9, 9), FLOATS, ANY_TEXT | st.binary(max_size=3), constants(), TYPES)
    ),
)
METADATA = st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=2)


@st.composite
def quants(draw: st.DrawFn, channels: int) -> QuantSpec | QuantParams:
    if draw(st.integers(0, 3)) == 0:
        spec = QuantSpec(draw(st.sampled_from([DType.F16, DType.F32])))
        return spec if draw(st.booleans()) else QuantParams(spec)
    symmetric, axis = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    qtype = draw(st.sampled_from([DType.I4, DType.I6, DType.I8, DType.U8, DType.I16]))
    spec = QuantSpec(qtype, symmetric, axis)
    if draw(st.booleans()):
        return spec
    count = spec.channels((1, channels))
    low, high = spec.qtype.integer_range
    scale = draw(st.lists(SCALES, min_size=count, max_size=count))
    zero = st.just(0) if symmetric else st.integers(low, high)
    return QuantParams.of(spec, scale, draw(st.lists(zero, min_size=count, max_size=count)))


@st.composite
def graphs(draw: st.DrawFn, parent: Graph | None = None, depth: int = 2) -> Graph:
    graph = Graph(draw(NAMES), draw(st.dictionaries(ANY_TEXT, st.integers(0, 30), max_size=2)), parent)
    graph.metadata.update(draw(METADATA))
    for _ in range(draw(st.integers(0, 2))):
        graph.add_input(graph.unique_value_name(draw(NAMES)), draw(TYPES))
    for _ in range(draw(st.integers(0, 2))):
        graph.constant(draw(constants()), draw(NAMES))
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 4)) == 0:
            add_quant(draw, graph)
        else:
            add_node(draw, graph, depth)
    for _ in range(draw(st.integers(0, 2))):
        if visible(graph):
            graph.add_output(draw(st.sampled_from(visible(graph))))
    return graph


def visible(graph: Graph) -> list[Value]:
    return [*graph.values(), *(visible(graph.parent) if graph.parent else [])]


def add_node(draw: st.DrawFn, graph: Graph, depth: int) -> None:
    attributes: dict[str, Attribute] = {}
    for name in draw(st.lists(NAMES, max_size=2, unique=True)):
        attributes[name] = draw(SCALARS | LISTS)
    if depth and draw(st.integers(0, 2)) == 0:
        attributes["body"] = draw(graphs(graph, depth - 1))
    if depth and draw(st.integers(0, 5)) == 0:
        attributes["branches"] = tuple(draw(graphs(graph, depth - 1)) for _ in range(2))
    values = visible(graph)
    operand = st.sampled_from(values) | st.none() if values else st.none()
    inputs = draw(st.lists(operand, max_size=3))
    outputs: list[str | None] = []
    for name in draw(st.lists(st.none() | NAMES, max_size=3)):
        fresh = None if name is None else graph.unique_value_name(name)
        outputs.append(None if fresh in outputs else fresh)
    node = graph.add(
        draw(NAMES),
        inputs,
        outputs=outputs,
        types=[UNKNOWN if o is None else draw(TYPES) for o in outputs],
        attributes=attributes,
        domain=draw(st.sampled_from(["", "", "ai.onnx.ml", "a b", "qir", "x."])),
        name=graph.unique_node_name(outputs[0] if outputs and outputs[0] else draw(NAMES)),
    )
    node.metadata.update(draw(METADATA))


def add_quant(draw: st.DrawFn, graph: Graph) -> None:
    channels = draw(st.integers(1, 6))
    kind = TensorType(DType.F32, (None, channels))
    made = graph.add("Source", [], types=[kind], name=graph.unique_node_name(draw(NAMES)))
    name = graph.unique_value_name(f"{made.output.name}.q")
    quantized = kind.with_quant(draw(quants(channels)))
    graph.add("quant", [made.output], domain="qir", types=[quantized], outputs=[name])
