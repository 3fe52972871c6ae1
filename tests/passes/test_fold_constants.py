"""fold-constants by numbers: folded models compute the same bits; bounds, refusals, and shape arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from golden import FOLDER, read_cases
from same_numbers import Array, chain, compute, ops, parse, run_exactly

from qir.ir.graph import Graph
from qir.passes.context import Context, RewriteLog
from qir.passes.fold_constants import FoldConstants, fold_constants
from qir.passes.folding.shape_values import shape_values


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_golden_graphs_compute_the_same(number: int) -> None:
    case = read_cases(FOLDER / "fold_constants.qir")[number]
    run_exactly(FoldConstants(), case.graph())


def fold(graph: Graph, max_bytes: int = 1 << 20) -> RewriteLog:
    log = RewriteLog()
    fold_constants(graph, log, max_bytes)
    return log


SLICES = [
    (start, end, axis, step)
    for start in (0, 2, -1, 100, -100)
    for end in (0, 3, -1, 2**62, -(2**62))
    for axis in (0, -1)
    for step in (1, 2, -1, -3)
]


def test_slices_of_shapes_are_those_of_onnx_runtime() -> None:
    graph = Graph("slices", {"": 17})
    grid = graph.constant(np.arange(8).reshape(2, 4), "grid")
    for bounds in SLICES:
        operands = [graph.constant(np.array([n]), "n") for n in bounds]
        graph.add_output(graph.add("Slice", [grid, *operands]).output)
    known, expected = shape_values(graph), compute(graph, {})
    for value, bounds in zip(graph.outputs, SLICES, strict=True):
        assert np.array_equal(known[value].constant.array, expected[value.name]), bounds


ARITHMETIC = """graph @arithmetic() {
  opsets {onnx=17}
  %a = const [-7,7,9,4] : i64[4]
  %b = const [2,-2,3,3] : i64[4]
  %i = const [-1,0] : i64[2]
  %m = const [true,false] : bool[2]
  %pair = const [2,-1] : i64[2]
  %axis = const [0] : i64[1]
  %o0 = Add(%a, %b) : i64[4]
  %o1 = Sub(%a, %b) : i64[4]
  %o2 = Mul(%a, %b) : i64[4]
  %o3 = Div(%a, %b) : i64[4]
  %o4 = Max(%a, %b) : i64[4]
  %o5 = Min(%a, %b) : i64[4]
  %o6 = Neg(%a) : i64[4]
  %o7 = Equal(%o4, %a) : bool[4]
  %o8 = Gather(%a, %i) : i64[2]
  %o9 = Where(%m, %o8, %i) : i64[2]
  %o10 = Reshape(%b, %pair) : i64[2,2]
  %o11 = Transpose(%o10) : i64[2,2]
  %o12 = Gather(%o11, %i) {axis=1} : i64[2,2]
  %o13 = Unsqueeze(%o9, %axis) : i64[1,2]
  %o14 = Squeeze(%o13, %axis) : i64[2]
  %o15 = Concat(%o12, %o13) {axis=0} : i64[3,2]
  %o16 = Cast(%o7) {to=6} : i32[4]
  %o17 = Cast(%a) {to=9} : bool[4]
  %o18 = Size(%o15) : i64[]
  %o19 = Shape(%o15) {end=-1} : i64[1]
  %o20 = ConstantOfShape(%o19) {value=const [5] : i64[1]} : i64[3]
  return RESULTS
}
""".replace("RESULTS", ", ".join(f"%o{i}" for i in range(21)))


def test_arithmetic_on_shapes_is_that_of_onnx_runtime() -> None:
    graph = parse(ARITHMETIC)
    known = shape_values(graph)
    expected = compute(graph, {})
    assert {v.name for v in known} == set(expected)
    for value, elements in known.items():
        found: Array = elements.constant.array
        assert found.dtype == expected[value.name].dtype, value.name
        assert np.array_equal(found, expected[value.name]), value.name


def test_what_is_partly_known_stays_partly_known() -> None:
    graph = parse("""graph @partly(%x: f32[N,3,?,8], %u: f32?) {
  opsets {onnx=17}
  %one = const [1] : i64[1]
  %all = Shape(%x) : i64[4]
  %twice = Add(%all, %all) : i64[4]
  %zero = Div(%all, %twice) : i64[4]
  %none = Shape(%u) : i64?
  %more = Concat(%none, %one) {axis=0} : i64?
  return %twice, %zero, %more
}
""")
    known = {v.name: e.array.tolist() for v, e in shape_values(graph).items()}
    assert known == {
        "all": [None, 3, None, 8],
        "twice": [None, 6, None, 16],
        "zero": [None, 0, None, 0],
    }


def test_overflow_and_division_by_zero_are_left_to_onnx_runtime() -> None:
    graph = parse("""graph @overflow(%x: f32[N,3]) {
  opsets {onnx=17}
  %large = const [9223372036854775807] : i64[1]
  %zero = const [0] : i64[1]
  %wide = const [300] : i64[1]
  %sum = Add(%large, %large) : i64[1]
  %quotient = Div(%large, %zero) : i64[1]
  %narrow = Cast(%wide) {to=3} : i8[1]
  return %sum, %quotient, %narrow
}
""")
    known = shape_values(graph)
    assert [v.name for v, e in known.items() if e.is_known] == []


def test_a_node_that_onnx_runtime_cannot_run_does_not_stop_the_others() -> None:
    graph = parse("""graph @culprit(%x: f32[2]) {
  opsets {onnx=17}
  %a = const [1.0,4.0] : f32[2]
  %b = const [1.0,2.0,3.0] : f32[3]
  %before = Sqrt(%a) : f32[2]
  %wrong = Add(%before, %b) : f32[2]
  %dependent = Neg(%wrong) : f32[2]
  %after = Exp(%a) : f32[2]
  %y = Sum(%x, %dependent, %after) : f32[2]
  return %y
}
""")
    log = fold(graph)
    assert ops(graph) == ["Add", "Neg", "Sum"]
    assert [(r.node, r.reason) for r in log.refusals()] == [
        ("wrong", "ONNX Runtime cannot compute it here"),
        ("dependent", "ONNX Runtime cannot compute it here"),
    ]


def test_cast_like_to_a_known_type_is_folded() -> None:
    graph = parse("""graph @typed(%x: f32[2], %h: f16[2]) {
  opsets {onnx=19}
  %a = const [1.00048828125,-60000.0] : f64[2]
  %half = CastLike(%a, %h) : ?
  %back = CastLike(%half, %x) : ?
  %y = Add(%x, %back) : f32[2]
  %z = CastLike(%y, %h) {saturate=1} : ?
  return %y, %z
}
""")
    run_exactly(FoldConstants(), graph)
    assert ops(graph) == ["Add", "Cast"]


def test_nothing_large_is_computed_to_be_thrown_away() -> None:
    graph = parse("""graph @bomb(%x: f32[1], %k: i64[1]) {
  opsets {onnx=17}
  %shape = const [1000000,1000000] : i64[2]
  %first = const [0] : i64[1]
  %bomb = ConstantOfShape(%shape) : f32[1000000,1000000]
  %part = Gather(%bomb, %first) : f32[1,1000000]
  %y = Add(%x, %part) : f32[1,1000000]
  return %y
}
""")
    log = fold(graph)
    assert [r.node for r in log.refusals()] == ["bomb"]
    assert ops(graph) == ["ConstantOfShape", "Gather", "Add"]


def test_growth_does_not_add_up() -> None:
    """Cast may grow a constant as element types do; what repeats and what is read elsewhere may not."""
    graph = Graph("growth", {"": 17})
    weights = graph.constant(np.arange(1000, dtype=np.int8), "weights")
    wide = graph.add("Cast", [weights], attributes={"to": 1}, name="wide").output
    twice = graph.constant(np.array([2]), "twice")
    graph.add_output(graph.add("Tile", [wide, twice], name="tiled").output)
    tied = graph.constant(np.ones((10, 100), np.float32), "tied")
    graph.add_output(graph.add("Transpose", [tied], name="turned").output)
    graph.add_output(graph.add("Neg", [tied], name="other").output)
    log = fold(graph, max_bytes=2000)
    assert ops(graph) == ["Tile", "Transpose", "Neg"]
    assert [r.node for r in log.refusals()] == ["tiled", "turned", "other"]


def test_shapes_that_become_known_by_folding_are_used() -> None:
    graph = parse("""graph @rounds(%x: f32[N,6], %s: f32[2]) {
  opsets {onnx=17}
  %factor = const [1.5,2.5] : f32[2]
  %sizes = Floor(%factor) : ?
  %target = Cast(%sizes) {to=7} : ?
  %ones = ConstantOfShape(%target) {value=const [1.0] : f32[1]} : ?
  %grid = NonZero(%ones) : ?
  %shape = Shape(%grid) : ?
  %y = Identity(%shape) : ?
  %z = Mul(%ones, %s) : ?
  return %y, %z
}
""")
    run_exactly(FoldConstants(), graph)
    assert ops(graph) == ["Mul"]
    assert graph.value("y").constant is not None


def test_strings_and_subgraphs() -> None:
    graph = parse("""graph @nested(%c: bool[], %x: f32[2]) {
  opsets {onnx=17}
  %two = const 2.0 : f32[]
  %words = const ["a","b"] : str[2]
  %first = const 0 : i64[]
  %word = Gather(%words, %first) : str[]
  %four = Mul(%two, %two) : f32[]
  %y = If(%c) {else_branch=graph @no() {
    %five = Sqrt(%four) : f32[]
    %a = Mul(%x, %five) : f32[2]
    return %a
  }, then_branch=graph @yes() {
    %k = Exp(%four) : f32[]
    %b = Mul(%x, %k) : f32[2]
    return %b
  }} : f32[2]
  return %y, %word
}
""")
    run_exactly(FoldConstants(), graph)
    assert ops(graph) == ["If"]
    assert [ops(g) for g in graph.nodes[0].subgraphs] == [["Mul"], ["Mul"]]
    word = graph.value("word").constant
    assert word is not None
    assert word.array.tolist() == b"a"


@pytest.mark.parametrize("condition", ["true", "false"])
def test_an_inlined_branch_may_return_what_it_captures_and_constants(condition: str) -> None:
    graph = parse(f"""graph @captures(%x: f32[2]) {{
  opsets {{onnx=17}}
  %c = const {condition} : bool[]
  %h = Neg "layer"(%x) : f32[2]
  %y, %z, %u = If(%c) {{else_branch=graph @no() {{
    %k = const [1.0,2.0] : f32[2]
    %a = Abs "layer"(%h) : f32[2]
    %i = Identity(%k) : f32[2]
    %unused = Exp(%a) : f32[2]
    return %a, %i, %unused
  }}, then_branch=graph @yes() {{
    %i = Identity(%h) : f32[2]
    %j = Identity(%x) : f32[2]
    %l = Exp(%h) : f32[2]
    return %i, %j, %l
  }}}} : f32[2], f32[2], f32[2]
  %r = Relu(%u) : f32[2]
  return %y, %z, %r
}}
""")
    run_exactly(FoldConstants(), graph)
    assert "If" not in ops(graph)


def test_random_numbers_are_not_folded() -> None:
    graph = parse("""graph @random() {
  opsets {onnx=17}
  %c = const [1.0, 2.0, 3.0, 4.0] : f32[4]
  %ratio = const 0.5 : f32[]
  %training = const true : bool[]
  %d = Dropout(%c, %ratio, %training) : f32[4]
  %r = RandomNormalLike(%c) : f32[4]
  %n = Neg(%c) : f32[4]
  %y = Sum(%d, %r, %n) : f32[4]
  return %y
}
""")
    assert fold_constants(graph, RewriteLog(), 1 << 20)
    assert ops(graph) == ["Dropout", "RandomNormalLike", "Sum"]


def test_a_long_chain_of_constants_is_folded_in_one_session() -> None:
    graph = chain("Neg", 1_000)
    value = graph.constant(np.ones(4, np.float32), "c")
    graph.value("n0").producer.set_input(0, value)  # type: ignore[union-attr]
    log = fold(graph)
    assert ops(graph) == []
    assert log.counts() == {"fold-constants": 1_000}
    found = graph.outputs[0].constant
    assert found is not None
    assert found.array.tolist() == [1.0] * 4


def test_twice_is_once() -> None:
    graph = parse(ARITHMETIC)
    assert FoldConstants().run(graph, Context())
    assert not FoldConstants().run(graph, Context())
