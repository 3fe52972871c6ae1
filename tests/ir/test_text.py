"""IR text: print and parse give back the identical graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_graphs import ANY_TEXT, graphs

from qir.ir.compare import difference
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.files import data_beside
from qir.ir.graph import Graph
from qir.ir.node import EmptyList
from qir.ir.numerals import round_float32
from qir.ir.parser import parse_graph
from qir.ir.printer import number, print_type, quote
from qir.ir.types import QuantParams, QuantSpec, TensorType, tensor
from qir.ir.verify import verify

W = Constant.of(np.arange(12, dtype=np.float32).reshape(2, 3, 2, 1))
EVERYTHING = f"""graph @net(%x: f32[N,3,8,8]) {{
  opsets {{onnx=17, "ai.onnx.ml"=3}}
  metadata @{{author="A \\"B\\"", "kind of"="net"}}
  %w = const #{W.digest} : f32[2,3,2,1]
  %b = const [0.5,-1.0] : f32[2]
  %flag = const true : bool[]
  %words = const ["a",x"ff"] : str[2]
  %half = const x"803f" : bf16[]
  %x.q = qir.quant(%x) : f32[N,3,8,8]!i8<asym scale=0.0521 zero=-3>
  %w.q = qir.quant(%w) : f32[2,3,2,1]!i8<axis=0 scale=[0.1,0.2] zero=0>
  %"/conv/y" = Conv "conv1"(%x.q, %w.q, -) {{auto_pad="SAME", pads=[1,1]}} @{{qir.fused="[]"}} : f32[N,?,8]
  %r, - = com.microsoft.Odd(%"/conv/y") {{axes=[]:ints, e=1e-05, f=2.0, t=const 1 : i64[]}} : f32?, -
  %y = If(%flag) {{else_branch=graph @no() {{
    %n = Neg(%r) : ?
    return %n
  }}, then_branch=graph @yes() {{
    return %r
  }}}} : f32[N,2]
  = Sink "end"(%y) {{kind=type seq(map(i64, f32[?]))}}
  return %y
}}
"""


def read_back(graph: Graph) -> Graph:
    return parse_graph(str(graph), data_beside(graph))


def test_text_of_everything_is_stable() -> None:
    graph = parse_graph(EVERYTHING, {W.digest: W})
    assert str(graph) == EVERYTHING
    verify(graph)
    conv, odd = graph.node("conv1"), graph.node("r")
    assert conv.output.name == "/conv/y"
    assert conv.inputs == (graph.value("x.q"), graph.value("w.q"), None)
    assert conv.attributes == {"pads": (1, 1), "auto_pad": "SAME"}
    assert conv.metadata == {"qir.fused": "[]"}
    assert (odd.domain, odd.op, odd.attributes["axes"]) == ("com.microsoft", "Odd", EmptyList("ints"))
    assert graph.value("w").constant is W
    assert [u.node.name for u in odd.output.uses] == ["n"]
    assert graph.value("x.q").tensor.quant == QuantParams.of(QuantSpec(DType.I8, symmetric=False), 0.0521, -3)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(graphs())
def test_random_graphs_come_back_identical(graph: Graph) -> None:
    verify(graph)
    back = read_back(graph)
    assert difference(graph, back) is None
    assert str(back) == str(graph)
    verify(back)
    assert difference(graph, graph.clone()) is None


@settings(derandomize=True)
@given(ANY_TEXT)
@example('"\\\n\t\r\x00\x7f\x85\u2028\ud800\U0001f600')
@example("a//b")
@example("%x: f32[1] // }")
def test_any_text_can_be_a_name(name: str) -> None:
    graph = Graph(name, {name: 1})
    graph.metadata[name] = name
    x = graph.add_input(name or "x", tensor(DType.F32, [name]))
    node = graph.add(
        name or "op", [x], attributes={name or "a": name}, domain=name, outputs=[f"{name}y"], name=name
    )
    node.metadata[name] = name
    graph.add_output(node.output)
    text = str(graph)
    assert text.isascii()
    assert difference(graph, parse_graph(text)) is None


@pytest.mark.parametrize(
    "attribute",
    [
        True,
        -0.0,
        2.0**-149,
        3.4028234663852886e38,
        math.inf,
        -math.inf,
        math.nan,
        b"",
        "",
        (b"a", "a"),
        (-0.0, 1.0),
    ],
)
def test_attribute_scalars(attribute: object) -> None:
    graph = Graph()
    graph.add("Op", [], attributes={"a": attribute})  # type: ignore[dict-item]
    back = read_back(graph).nodes[0].attributes["a"]
    assert repr(back) == repr(int(attribute) if attribute is True else attribute)


def test_kinds_of_empty_lists_differ() -> None:
    assert EmptyList("ints") != EmptyList("floats")
    assert EmptyList("ints") != ()
    graph = Graph()
    graph.add("Op", [], attributes={"a": EmptyList("floats")})
    assert read_back(graph).nodes[0].attributes["a"] == EmptyList("floats")


@settings(derandomize=True)
@given(st.floats(width=32, allow_nan=False))
def test_a_float32_prints_as_the_shortest_decimal_that_reads_back(x: float) -> None:
    assert round_float32(number(x)) == x


def test_decimals_are_rounded_once() -> None:
    # 2^24 + 1 lies in the middle of two float32 numbers; a decimal just above it rounds to it in float64.
    assert round_float32("16777217.0") == 16777216.0
    assert round_float32("16777217.0000000000001") == 16777218.0
    assert round_float32("16777216.9999999999999") == 16777216.0
    assert round_float32("-16777217.0000000000001") == -16777218.0


def test_nans_keep_their_bits() -> None:
    bits = np.array([0x7FC00000, 0xFFC00001, 0x3F800000], np.uint32).view(np.float32)
    graph = Graph()
    graph.constant(bits, "odd")
    graph.constant(bits[:1], "plain")
    assert "const [nan] : f32[1]" in str(graph)
    back = read_back(graph)
    assert back.value("odd").constant == graph.value("odd").constant


@pytest.mark.parametrize("count", [1, 4, 5])
def test_long_scale_lists_print_as_digests(count: int) -> None:
    spec = QuantSpec(DType.I8, symmetric=False, axis=0)
    params = QuantParams.of(spec, np.linspace(0.1, 1, count), np.arange(count))
    graph = Graph()
    x = graph.add_input("x", tensor(DType.F32, [count]))
    graph.add("quant", [x], domain="qir", types=[TensorType(DType.F32, (count,), params)])
    assert ("scale=#" in str(graph)) == (count > 4)
    assert read_back(graph).nodes[0].output.tensor.quant == params


def test_ops_with_dots_and_keywords_are_quoted() -> None:
    graph = Graph()
    for domain, op in (
        ("", "a.b"),
        ("a", "b"),
        ("a.b", "c"),
        ("a", "b.c"),
        ("", "const"),
        ("a.", "b"),
        ("1", "x"),
    ):
        graph.add(op, [], domain=domain)
    back = read_back(graph)
    assert [(n.domain, n.op) for n in back.nodes] == [(n.domain, n.op) for n in graph.nodes]


def test_text_is_sorted_where_order_has_no_meaning() -> None:
    graph = Graph("n", {"b": 1, "a": 2, "": 3})
    graph.metadata.update({"z": "1", "y": "2"})
    node = graph.add("Op", [], attributes={"d": 1, "c": 2})
    node.metadata.update({"l": "1", "k": "2"})
    assert (
        str(graph)
        == """graph @n() {
  opsets {onnx=3, "a"=2, "b"=1}
  metadata @{y="2", z="1"}
  %Op = Op() {c=2, d=1} @{k="2", l="1"} : ?
  return
}
"""
    )


def test_hand_written_text_may_be_shorter() -> None:
    graph = parse_graph(
        """// a comment
        graph @n(%x: f32[2]) {   // another
          %y = Relu(%x)
          return %y }
        // the end"""
    )
    assert str(graph) == "graph @n(%x: f32[2]) {\n  %y = Relu(%x) : ?\n  return %y\n}\n"


def test_a_long_chain_parses_without_recursion() -> None:
    graph = Graph("chain")
    value = graph.add_input("x", tensor(DType.F32, [4]))
    for i in range(10_000):
        value = graph.add("Relu", [value], types=[value.type], name=f"/layer{i}/Relu").output
    graph.add_output(value)
    text = str(graph)
    back = parse_graph(text)
    verify(back)
    assert str(back) == text


def test_types_print_as_documented() -> None:
    quant = QuantSpec(DType.I8, axis=1, groups=2)
    assert print_type(TensorType(None, None, quant)) == "??!i8<axis=1 groups=2>"
    assert print_type(TensorType(DType.F32)) == "f32?"
    assert print_type(TensorType(None, ("a b", None, 3))) == '?["a b",?,3]'
    assert quote("é\n") == '"\\u00e9\\n"'
