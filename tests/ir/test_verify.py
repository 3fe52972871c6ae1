"""verify: every rule, broken on purpose, is a sentence with the culprit marked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qir.ir.dtypes import DType
from qir.ir.errors import VerifyError
from qir.ir.graph import Graph
from qir.ir.node import EmptyList
from qir.ir.parser import parse_graph
from qir.ir.types import QuantParams, QuantSpec, SequenceType, TensorType
from qir.ir.verify import verify

NET = """graph @net(%x: f32[N,3]) {
  %w = const [1.0,2.0,3.0] : f32[3]
  %c = const true : bool[]
  %a = Mul(%x, %w) : f32[N,3]
  %b = Relu(%a) : f32[N,3]
  %d = If(%c) {then_branch=graph @then(%i: f32[3]) {
    %e = Add(%i, %b) : f32[N,3]
    return %e
  }} : f32[N,3]
  %q = qir.quant(%b) : f32[N,3]!i8<axis=1 scale=[0.1,0.2,0.3] zero=0>
  return %d, %q
}
"""
KIND = TensorType(DType.F32, ("N", 3))


def body(graph: Graph) -> Graph:
    return graph.node("d").subgraphs[0]


def shadow(graph: Graph) -> None:
    inner = body(graph)
    inner.rename(inner.value("e"), "b")


def capture_of_a_sibling(graph: Graph) -> None:
    other = Graph("other", parent=graph)
    graph.add("If", [graph.value("c")], outputs=["o"], attributes={"then_branch": other})
    other.add_output(other.add("Neg", [body(graph).value("e")]).output)


def capture_of_a_later_value(graph: Graph) -> None:
    body(graph).node("e").set_input(1, graph.value("q"))


def cycle(graph: Graph) -> None:
    graph.node("a").set_input(0, graph.value("b"))


def erased_value(graph: Graph) -> None:
    made = graph.add("Neg", [graph.value("x")], outputs=["n"])
    graph.erase(made)
    graph.node("b").set_input(0, made.outputs[0])


def foreign_value(graph: Graph) -> None:
    graph.node("b").set_input(0, Graph("other").add_input("z"))


def thrown_away_subgraph(graph: Graph) -> None:
    graph.node("d").attributes.clear()


def shared_subgraph(graph: Graph) -> None:
    graph.add("If", [graph.value("c")], attributes={"then_branch": body(graph)})


def wrong_parent(graph: Graph) -> None:
    graph.node("d").attributes["else_branch"] = Graph("alone")


def unregistered_reader(graph: Graph) -> None:
    graph.value("x")._uses.clear()


def false_reader(graph: Graph) -> None:
    graph.value("w")._uses[graph.node("b"), 0] = None


def lost_output(graph: Graph) -> None:
    graph.value("d")._uses.clear()


def foreign_output(graph: Graph) -> None:
    graph.set_output(0, body(graph).value("e"))


def node_of_another_graph(graph: Graph) -> None:
    graph.node("b").graph = body(graph)


def stolen_output(graph: Graph) -> None:
    graph.value("b").producer = graph.node("a")


def moved_input(graph: Graph) -> None:
    graph.value("x").index = 1


def set_type(name: str, kind: object) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.value(name).type = kind  # type: ignore[assignment]

    return change


def set_attribute(item: object, name: str = "k") -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.node("b").attributes[name] = item  # type: ignore[assignment]

    return change


def set_quant(quant: QuantSpec | QuantParams | None) -> Callable[[Graph], None]:
    return set_type("q", KIND.with_quant(quant))


def closed(spec: QuantSpec, count: int, scale: float = 0.5, zero: int = 0) -> Callable[[Graph], None]:
    return set_quant(QuantParams.of(spec, [scale] * count, zero))


PER_CHANNEL = QuantSpec(DType.I8, axis=1)
PER_TENSOR = QuantSpec(DType.I8)
BROKEN: list[tuple[Callable[[Graph], None], str, str]] = [
    (
        lambda g: g.move(g.node("b"), g.node("a")),
        "input 0 is 'a', which is defined later; sort_nodes",
        "%b = Relu",
    ),
    (cycle, "graph 'net' has a cycle: 'a' (Mul) -> 'b' (Relu) -> 'a' (Mul)", "%a = Mul"),
    (shadow, "'b' hides a value of that name in a graph around", "%b = Add"),
    (capture_of_a_sibling, "input 0 is 'e' of graph 'then', which is not around it", "%Neg = Neg"),
    (capture_of_a_later_value, "input 1 is 'q', which is defined later", "%e = Add"),
    (erased_value, "input 0 is 'n', which was erased", "%b = Relu"),
    (foreign_value, "input 0 is 'z' of graph 'other', which is not around it", "%b = Relu"),
    (thrown_away_subgraph, "'b' is read by node 'e', which is not part of the graph; release()", "%b = Relu"),
    (shared_subgraph, "graph 'then' is held twice", ""),
    (wrong_parent, "its subgraph 'alone' has another parent than graph 'net'", "%d = If"),
    (unregistered_reader, "it reads 'x' as input 0, but the value does not list it as a reader", "%a = Mul"),
    (false_reader, "'w' lists input 0 of 'b' as a reader in vain", "%w = const"),
    (
        lambda g: g.value("w")._uses.update({(g, 0): None}),
        "'w' lists output 0 of 'net' as a reader in vain",
        "%w = const",
    ),
    (lost_output, "'d' is returned, but does not list the graph as a reader", "%d = If"),
    (foreign_output, "output 0 of graph 'net' is 'e' of graph 'then', which is not around it", "%e = Add"),
    (node_of_another_graph, "it stands in graph 'net', which does not know its name", "%b = Relu"),
    (stolen_output, "'b', its output 0, does not point back at it", "%b = Relu"),
    (moved_input, "'x' is not input 0 of the graph that lists it there", "graph @net(%x"),
    (set_type("w", KIND), "the type of constant 'w' is f32[N,3], but its data are f32[3]", "%w = const"),
    (set_type("b", 3), "a type is one of the classes of qir.ir.types, not 3", "<Node Relu 'b'>"),
    (set_type("b", TensorType(DType.F32, (-1,))), "a shape is a tuple of numbers from 0 on", "%b = Relu"),
    (set_type("b", TensorType("f32")), "an element type is a DType or None", "<Node Relu 'b'>"),  # type: ignore[arg-type]
    (set_type("b", KIND.with_quant(PER_TENSOR)), "only a qir.quant quantizes a value", "%b = Relu"),
    (set_type("x", KIND.with_quant(PER_TENSOR)), "only a qir.quant quantizes a value", "graph @net(%x"),
    (set_type("b", SequenceType(KIND.with_quant(PER_TENSOR))), "only the result of qir.quant", "%b = Relu"),
    (set_attribute(1 << 63), "attribute 'k' is 9223372036854775808, which an int64 cannot hold", "%b = Relu"),
    (set_attribute(0.1), "attribute 'k' is 0.1, no float32 number; the nearest is 0.1000000014", "%b = Relu"),
    (
        set_attribute(np.float32(1)),
        "attribute 'k' is of type float32; attributes are numbers, text",
        "<Node Relu 'b'>",
    ),
    (set_attribute([1, 2]), "attribute 'k' is of type list;", "<Node Relu 'b'>"),
    (set_attribute(()), "attribute 'k' is an empty list and must say of what", "%b = Relu"),
    (set_attribute(EmptyList("int")), "attribute 'k' is an empty list of unknown kind 'int'", "%b = Relu"),
    (
        set_attribute((1, 2.0)),
        "attribute 'k' is a list of ints and floats; a list holds one kind",
        "%b = Relu",
    ),
    (set_attribute(1, ""), "an attribute name is a non-empty text", "%b = Relu"),
    (
        lambda g: g.node("q").set_input(1, g.value("x")),
        "input 1 of a quant is a quant of one input, whose rest it rounds",
        "%q = qir.quant",
    ),
    (
        set_type("b", TensorType(DType.I32, ("N", 3))),
        "a quant reads a float tensor, but 'b' is i32",
        "%q = qir.quant",
    ),
    (set_type("q", TensorType(DType.F32, ("N", 4), PER_TENSOR)), "f32[N,3], not f32[N,4]", "%q = qir.quant"),
    (set_type("q", TensorType(DType.F16, ("N", 3), PER_TENSOR)), "f32[N,3], not f16[N,3]", "%q = qir.quant"),
    (set_quant(None), "says how it is quantized; this one does not", "%q = qir.quant"),
    (set_quant(QuantSpec(DType.BOOL)), "quantized to integers or floats, not to bool", "%q = qir.quant"),
    (
        set_quant(QuantSpec(DType.I8, axis=2)),
        "axis 2 is not an axis of a tensor of 2 dimensions",
        "%q = qir.quant",
    ),
    (set_quant(QuantSpec(DType.I8, axis=-1)), "axis -1 is not an axis", "%q = qir.quant"),
    (set_quant(QuantSpec(DType.I8, axis=1, groups=0)), "groups=0 of a quantization is not", "%q = qir.quant"),
    (
        set_quant(QuantSpec(DType.I8, axis=0, groups=2)),
        "groups=2 divide axis 0 of a tensor",
        "%q = qir.quant",
    ),
    (closed(PER_CHANNEL, 2), "the quantized axis has 3 channels, but there are 2 scales", "%q = qir.quant"),
    (closed(PER_TENSOR, 3), "the quantized axis has 1 channels, but there are 3 scales", "%q = qir.quant"),
    (closed(PER_TENSOR, 1, 0.0), "a scale is finite and greater than 0, not 0.0", "%q = qir.quant"),
    (closed(PER_TENSOR, 1, float("inf")), "a scale is finite and greater than 0, not inf", "%q = qir.quant"),
    (
        closed(QuantSpec(DType.I8, symmetric=False), 1, 1.0, 128),
        "the zero point 128 is out of",
        "%q = qir.quant",
    ),
    (closed(PER_TENSOR, 1, 1.0, 1), "a symmetric quantization has zero point 0, not 1", "%q = qir.quant"),
    (closed(QuantSpec(DType.F16), 1), "f16 is a cast; it has no scale", "%q = qir.quant"),
    (set_quant(QuantParams(PER_TENSOR)), "a closed quantization to i8 needs a scale", "%q = qir.quant"),
]


@pytest.mark.parametrize(("change", "sentence", "marked"), BROKEN, ids=[b[1][:45] for b in BROKEN])
def test_broken_rules(change: Callable[[Graph], None], sentence: str, marked: str) -> None:
    graph = parse_graph(NET)
    verify(graph)
    change(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    head, *lines = str(caught.value).split("\n")
    assert sentence in head
    assert [marked in line for line in lines if line.startswith(" --> ")] == ([True] if marked else [])


def test_names_metadata_and_opsets_are_checked() -> None:
    for change, sentence in (
        (lambda g: g.metadata.update(a=1), "are text, not 1"),
        (lambda g: g.opsets.update({"": "17"}), "the opset of domain '' is a whole number, not '17'"),
        (lambda g: g.node("b").metadata.update(a=1), r"metadata are text, not \('a', 1\)"),
        (lambda g: g.rename(g.value("b"), ""), "a value has an empty name"),
    ):
        graph = parse_graph(NET)
        change(graph)
        with pytest.raises(VerifyError, match=sentence):
            verify(graph)


def test_the_error_shows_a_few_lines_around() -> None:
    lines = [f"  %v{i + 1} = Relu(%v{i}) : ?" for i in range(20)]
    graph = parse_graph("\n".join(["graph @n(%v0: ?) {", *lines, "  return\n}"]))
    graph.node("v10").attributes["a"] = ()
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    shown = str(caught.value).split("\n")[1:]
    assert shown[0] == "     graph @n(%v0: ?) {"
    assert [line[7:].split(" ")[0] for line in shown[1:]] == [
        "…",
        "%v7",
        "%v8",
        "%v9",
        "%v10",
        "%v11",
        "%v12",
        "%v13",
        "…",
    ]


def test_unknown_types_and_shapes_are_allowed() -> None:
    graph = parse_graph("""graph @n(%x: ?, %z: f32?, %s: seq(f32[?])) {
      %a = qir.quant(%x) : ??!i8<axis=3>
      %b = qir.quant(%z) : f32?!i8<axis=1 scale=[1,2] zero=0>
      %c = qir.quant(%z) : f32?!f16<closed>
      return %a, %a
    }""")
    verify(graph)


def test_grouped_scales_count_groups_times_channels() -> None:
    text = """graph @n(%x: f32[4,2,3]) {
      %q = qir.quant(%x) : f32[4,2,3]!i8<axis=1 groups=2 scale=[1,2,3,4]>
      return
    }"""
    verify(parse_graph(text))
    with pytest.raises(VerifyError, match="groups=3 do not divide the first dimension 4"):
        verify(parse_graph(text.replace("groups=2", "groups=3")))


def test_a_subgraph_may_be_checked_alone() -> None:
    graph = parse_graph(NET)
    verify(body(graph))
    body(graph).node("e").attributes["a"] = ()
    with pytest.raises(VerifyError):
        verify(body(graph))


def test_what_is_no_graph_is_refused_before_it_is_entered() -> None:
    graph = parse_graph(NET)
    graph.node("d").attributes["then_branch"] = object()  # type: ignore[assignment]
    with pytest.raises(VerifyError, match="attribute 'then_branch' is of type object"):
        verify(graph)
