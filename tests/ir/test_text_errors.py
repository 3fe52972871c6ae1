"""Mistakes in IR text: each error points at its place and says what to do."""

from __future__ import annotations

import numpy as np
import pytest

from qir.ir.constant import Constant
from qir.ir.errors import ParseError
from qir.ir.parser import parse_graph

HEAD = "graph @n(%x: f32[2]) {\n"
MISTAKES = [
    # (text, line:column, what the message says)
    ("", "1:1", "expected 'graph @name(inputs) {', but found the end of the text"),
    ("grph @n() { return }", "1:1", "but found 'grph'"),
    ("graph @n(%x: float32[2]) { return }", "1:14", "no element type 'float32'; did you mean 'f32'?"),
    ("graph @n(%x: int8[2]) { return }", "1:14", "did you mean 'i8'"),
    ("graph @n(%x: sequence(f32[])) { return }", "1:14", "no element type 'sequence'"),
    ("graph @n(%x: f32) { return }", "1:17", "'[' and the dimensions, or '?' for an unknown rank"),
    ("graph @n(%x: f32[2) { return }", "1:19", "expected ',' or ']' after an element, but found ')'"),
    ("graph @n(%x: f32[], %x: f32[]) { return }", "1:21", "the value name 'x' is used twice"),
    ("graph @n(%x: f32[2]!i8<axes=0>) { return }", "1:24", "no option 'axes'; did you mean 'axis'"),
    ("graph @n(%x: f32[2]!i8<axis=0 axis=0>) { return }", "1:31", "'axis' is given twice"),
    ("graph @n(%x: f32[2]!i8<scale=1e99>) { return }", "1:30", "1e99 is out of range of f32"),
    ("graph @n(%x: f32[2]!i8<scale=[1,2] zero=[1,2,3]>) { return }", "1:21", "2 scales but 3 zero points"),
    ("graph @n(%x: f32[2]!i8<zero=1>) { return }", "1:21", "a zero point without a scale"),
    ("graph @n(%x: f32[2]!i8<scale=nan>) { return }", "1:21", "not NaN"),
    (
        "graph @n(%x: sparse(seq(f32[]))) { return }",
        "1:14",
        "a sparse tensor has an element type and a shape",
    ),
    (HEAD + "  retrun %x\n}", "2:3", "expected a node, a constant or 'return', but found 'retrun'"),
    (HEAD + "  return %x\n", "3:1", "or '}' after an element, but found the end of the text"),
    (HEAD + "  return %x\n}\nmore", "4:1", "nothing after the graph"),
    (HEAD + "  return %xx\n}", "2:10", "there is no value 'xx' before this line; did you mean 'x'?"),
    (HEAD + "  %y = Relu(%z)\n  %z = Relu(%x)\n  return %y\n}", "2:13", "define a value before it is read"),
    (HEAD + "  %x = Relu(%x)\n  return %x\n}", "2:3", "the value name 'x' is used twice"),
    (HEAD + "  %y = Relu(% x)\n}", "2:13", "a value needs a name right after '%'"),
    (HEAD + '  %y = Relu "r(%x)\n}', "2:13", "this string is not closed"),
    (HEAD + '  %y = Relu "\\q"(%x)\n}', "2:14", "unknown escape \\q"),
    (HEAD + "  - = Relu(%x)\n}", "2:3", "needs a name in quotes"),
    (HEAD + "  %y = Relu(%x) {a=1, a=2}\n}", "2:23", "'a' is given twice"),
    (
        HEAD + "  %y = Relu(%x) {a=[1,2.0]}\n}",
        "2:21",
        "a list holds one kind of elements, not ints and floats",
    ),
    (HEAD + "  %y = Relu(%x) {a=[]:intss}\n}", "2:23", "no list kind 'intss'; did you mean 'ints'"),
    (HEAD + "  %y = Relu(%x) {a=relu}\n}", "2:20", "expected an attribute"),
    (HEAD + "  %y, %z = Split(%x) : f32[1]\n}", "3:1", "1 more of the 2 output types"),
    (HEAD + "  %y, %z = const 1 : i64[]\n}", "2:3", "a constant has exactly one name"),
    (HEAD + "  %c = const [1,2] : i64[3]\n}", "2:14", "are a list of 3, but here is a list of 2"),
    (HEAD + "  %c = const 300 : u8[]\n}", "2:14", "300 is not an element of type u8"),
    (HEAD + "  %c = const 1.5 : i8[]\n}", "2:14", "1.5 is not an element of type i8"),
    (HEAD + "  %c = const yes : bool[]\n}", "2:14", "yes is not an element of type bool"),
    (HEAD + "  %c = const [1.0] : f32[?]\n}", "2:22", "an element type and a known shape"),
    (HEAD + '  %c = const x"00" : bf16[]\n}', "2:14", "must be 2 uint8"),
    (HEAD + "  %c = const 1.0 : bf16[]\n}", "2:14", "written as bytes"),
    (HEAD + '  %c = const "\\ud800" : str[]\n}', "2:14", "not Unicode text"),
    (HEAD + "  %c = const #ab : f32[]\n}", "2:14", "this text stands alone"),
    (HEAD + "  §\n}", "2:3", "unexpected '§'"),
    ("graph @n() { opsets {onnx=1.5} return }", "1:27", "expected an opset version, a whole number"),
]


@pytest.mark.parametrize(("text", "place", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_mistakes_are_pointed_at(text: str, place: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph(text, filename="net.qir")
    head, line, caret = str(caught.value).split("\n")
    assert head.startswith(f"net.qir:{place}: ")
    assert message in head
    row, column = map(int, place.split(":"))
    assert line == (text.split("\n")[row - 1])
    assert caret == " " * (column - 1) + "^"


def test_caret_stands_under_the_place_in_lines_with_tabs_and_in_long_lines() -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph("graph @n() {\n\t\treturn %y }")
    assert str(caught.value).endswith("\t\treturn %y }\n\t\t       ^")
    with pytest.raises(ParseError) as caught:
        parse_graph("graph @n() { " + "%y = Relu() " * 100 + "}")
    head, line, caret = str(caught.value).split("\n")
    assert ":1:26: " in head
    assert len(line) < 250
    assert line[caret.index("^") :].startswith("%y = Relu() ")


def test_missing_and_wrong_data() -> None:
    text = "graph @n() {\n  %c = const #ab : f32[3]\n  return\n}"
    with pytest.raises(ParseError, match=r"2:14: .*\.npz file beside the text is missing or does not fit"):
        parse_graph(text, {})
    with pytest.raises(ParseError, match=r"2:20: the data have the type f32\[2\], not f32\[3\]"):
        parse_graph(text, {"ab": Constant.of(np.zeros(2, np.float32))})
    scales = "graph @n(%x: f32[9]!i8<axis=0 scale=#ab>) { return }"
    with pytest.raises(ParseError, match=r"1:37: .* cannot be a f32 vector"):
        parse_graph(scales, {"ab": Constant.of(np.zeros((3, 3), np.float32))})


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    with pytest.raises(ParseError, match="a type is nested more than"):
        parse_graph("graph @n(%x: " + "seq(" * 10_000)
    nested = "graph @n() { " + "%y = If() {then_branch=graph @n() { " * 1000
    with pytest.raises(ParseError, match="graphs are nested more than"):
        parse_graph(nested)


def test_any_cut_of_a_text_is_a_parse_error() -> None:
    text = (
        "graph @n(%x: f32[N,3]!i8<asym axis=1 scale=[0.1,0.2,0.3] zero=[1,2,3]>) {\n"
        '  opsets {onnx=17}\n  metadata @{a="b"}\n  %c = const [1,2] : i64[2]\n'
        '  %"a b", - = d.Op "n"(%x, -, %c) {a=[1.0,nan], g=graph @g() {\n    return %x }}'
        " : seq(f32[?]), -\n"
        "  return %c\n}"
    )
    parse_graph(text)
    for end in range(len(text)):
        with pytest.raises(ParseError):
            parse_graph(text[:end])
