"""Two quants of one value: error compensation as the IR holds it, reads it and checks it."""

from __future__ import annotations

import pytest

from qir.ir.dtypes import DType
from qir.ir.errors import VerifyError
from qir.ir.parser import parse_graph
from qir.ir.printer import print_graph
from qir.ir.quants import (
    OperandPrecision,
    coarse_quant,
    erase_quant,
    find_quant,
    is_coarse,
    layers_reading,
    operand_precision,
    quant_of,
    quantized_layers,
    unquantized,
)
from qir.ir.types import QuantParams, QuantSpec
from qir.ir.verify import verify

TEXT = """graph @net(%x: f32[2,2]) {
  %w = const [1.0,2.0,3.0,4.0] : f32[2,2]
  %w.q = qir.quant(%w) : f32[2,2]!i8<axis=1>
  %w.ec = qir.quant(%w, %w.q) : f32[2,2]!i8<scale=0.5 zero=0>
  %y = MatMul "layer"(%x, %w.ec) : f32[2,2]
  return %y
}
"""


def test_an_operand_of_two_quants() -> None:
    graph = parse_graph(TEXT)
    verify(graph)
    assert print_graph(graph) == TEXT
    layer, first, second = graph.node("layer"), graph.node("w.q"), graph.node("w.ec")
    found = operand_precision(layer, 1)
    assert found == OperandPrecision(QuantSpec(DType.I8, axis=1), QuantParams.of(QuantSpec(DType.I8), 0.5))
    assert (found.name, found.qtype, found.single, found.is_closed) == ("ec", DType.I8, None, False)
    assert quant_of(second.output) == QuantSpec(DType.I8, axis=1)
    assert unquantized(second.output) is graph.value("w")
    assert (coarse_quant(second), coarse_quant(first)) == (first, None)
    assert (is_coarse(first), is_coarse(second)) == (True, False)
    assert layers_reading(first) == layers_reading(second) == (layer,)
    assert quantized_layers(graph) == (layer,)
    assert find_quant(graph.value("w"), QuantSpec(DType.I8, axis=1)) is None, "it belongs to its rest"
    assert find_quant(graph.value("w"), QuantSpec(DType.I8)) is None


def test_both_go_together() -> None:
    graph = parse_graph(TEXT)
    layer, value = graph.node("layer"), graph.value("w.ec")
    erase_quant(value)
    assert graph.has_node("w.ec"), "the layer reads it"
    layer.set_input(1, graph.value("w"))
    erase_quant(value)
    assert [node.name for node in graph.nodes] == ["layer"]
    verify(graph)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("(%w, %w.q)", "(%w, %w)", "'w' is none"),
        ("(%w, %w.q)", "(%w, %w.q, %w)", "not 3 and 1"),
        ("(%w, %w.q)", "(%x, %w.q)", "both quants of error compensation round one value, not 'x' and"),
        ("!i8<axis=1>", "!f16", "error compensation adds integers, not f16"),
        ("!i8<scale=0.5 zero=0>", "!f16", "error compensation adds integers, not f16"),
        (
            '  %y = MatMul "layer"(%x, %w.ec)',
            '  %v = qir.quant(%w, %w.ec) : f32[2,2]!i8\n  %y = MatMul "layer"(%x, %v)',
            "'w.ec' is none",
        ),
    ],
)
def test_what_is_no_compensation(old: str, new: str, sentence: str) -> None:
    assert old in TEXT
    with pytest.raises(VerifyError, match=sentence):
        verify(parse_graph(TEXT.replace(old, new)))
