"""Questions about quants: precision of operands, the bias of a MatMul, quantized layers."""

from __future__ import annotations

import pytest

from qir.ir.dtypes import DType
from qir.ir.errors import VerifyError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.printer import print_graph
from qir.ir.quants import (
    OperandPrecision,
    bias_add,
    bias_add_candidate,
    find_quant,
    is_quant,
    operand_precision,
    quant_of,
    quantized_layers,
    unquantized,
)
from qir.ir.types import QuantSpec, spec_of
from qir.ir.verify import verify

NET = """graph @n(%x: f32[2,3]) {
  %w = const #00 : f32[3,4]
  %b = const [1.0,2.0,3.0,4.0] : f32[4]
  %x.q = qir.quant(%x) : f32[2,3]!i8<asym scale=0.5 zero=3>
  %w.q = qir.quant(%w) : f32[3,4]!i8
  %m = MatMul(%x.q, %w.q) : f32[2,4]
  %b.q = qir.quant(%b) : f32[4]!i32
  %y = Add(%m, %b.q) : f32[2,4]
  %z = Relu(%y) : f32[2,4]
  %y.q = qir.quant(%y) : f32[2,4]!i8
  %p = AveragePool(%y.q) : f32[2,4]
  %g = Gather(%w.q, %p) : ?
  return %z, %p
}
"""


def net(*edits: tuple[str, str]) -> Graph:
    text = NET.replace("const #00 : f32[3,4]", "const [1,2,3,4,5,6,7,8,9,0,1,2] : f32[3,4]")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return parse_graph(text)


def test_operands() -> None:
    graph = net()
    matmul = graph.node("m")
    assert is_quant(graph.node("x.q"))
    assert not is_quant(matmul)
    assert operand_precision(matmul, 0) == OperandPrecision(graph.value("x.q").tensor.quant)
    assert operand_precision(matmul, 1) == OperandPrecision(QuantSpec(DType.I8))
    assert operand_precision(matmul, 1).name == "int8"
    assert operand_precision(matmul, 2) is None
    assert quant_of(graph.value("x")) is None
    assert quant_of(None) is None
    assert unquantized(graph.value("w.q")) is graph.value("w")
    assert unquantized(graph.value("w")) is graph.value("w")


def test_find_quant_looks_at_the_spec_open_or_closed() -> None:
    graph = net()
    assert find_quant(graph.value("x"), QuantSpec(DType.I8, symmetric=False)) is graph.value("x.q")
    assert find_quant(graph.value("x"), QuantSpec(DType.I8)) is None
    assert find_quant(graph.value("w"), QuantSpec(DType.I8)) is graph.value("w.q")
    assert find_quant(graph.value("w"), QuantSpec(DType.I8, axis=1)) is None
    assert find_quant(graph.value("m"), QuantSpec(DType.I8)) is None


def test_quantized_layers() -> None:
    graph = net()
    assert [n.name for n in quantized_layers(graph)] == ["m", "p"], (
        "neither the bias Add nor a reader of a constant"
    )


def test_bias_add() -> None:
    graph = net()
    assert bias_add(graph.node("m")) is graph.node("y")
    assert bias_add_candidate(graph.node("m")) is graph.node("y")
    for other in ("y", "z", "p"):
        assert bias_add(graph.node(other)) is None


@pytest.mark.parametrize(
    ("edit", "candidate"),
    [
        (("Add(%m, %b.q)", "Add(%m, %b)"), True),
        (("f32[4]!i32", "f32[4]!i8"), True),
        (("Add(%m, %b.q)", "Add(%b.q, %m)"), False),
        (("Relu(%y)", "Relu(%m)"), False),
        (("return %z", "return %m"), False),
        (("Add(%m, %b.q)", "Mul(%m, %b.q)"), False),
        (("Add(%m, %b.q)", "other.Add(%m, %b.q)"), False),
        (("Add(%m, %b.q)", "Add(%m, %x)"), False),
        (("MatMul(", "other.MatMul("), False),
        (("const [1.0,2.0,3.0,4.0] : f32[4]", "const [1.0] : f32[1]"), False),
        (("const [1.0,2.0,3.0,4.0] : f32[4]", "const [1,2,3,4] : f32[1,4]"), False),
    ],
)
def test_what_is_no_bias_add(edit: tuple[str, str], candidate: bool) -> None:
    graph = net(edit)
    assert bias_add(graph.node("m")) is None
    assert bias_add_candidate(graph.node("m")) is (graph.node("y") if candidate else None)


@pytest.mark.parametrize("bits", [5, 6, 7])
def test_widths_that_only_quantization_knows(bits: int) -> None:
    text = f"""graph @net(%x: f32[2]) {{
  %q = qir.quant(%x) : f32[2]!i{bits}<scale=0.5 zero=0>
  return %q
}}
"""
    graph = parse_graph(text)
    verify(graph)
    assert print_graph(graph) == text
    assert spec_of(graph.value("q").tensor.quant).qtype.integer_range == (
        -(1 << bits - 1),
        (1 << bits - 1) - 1,
    )
    for kind in (f"i{bits}[2]", f"sparse(i{bits}[2])", f"seq(i{bits}[2])", f"map(i{bits}, f32[2])"):
        graph = parse_graph(f"graph @net(%x: {kind}) {{\n  return %x\n}}\n")
        with pytest.raises(VerifyError, match=f"i{bits} is a type of quantization"):
            verify(graph)
