"""Graphs in segments: where they are cut, and that they compute what the graph computes."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import conv_net, elementwise, images

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.types import UNKNOWN, Dim, QuantSpec, SequenceType, tensor
from qir.runtime.chain import Chain
from qir.runtime.levels import steps_of
from qir.runtime.segmented import SegmentedSession
from qir.runtime.segments import estimated_bytes, infer_anew, split
from qir.runtime.session import Session


def chain(sizes: list[int], shortcuts: dict[int, int] | None = None) -> Graph:
    """x0 -> ... -> xn, xi of sizes[i] bytes by its type; shortcuts {i: j}: xi is read for xj too."""
    graph = Graph("net", {"": 17})
    value = graph.add_input("x0", tensor(DType.F32, [sizes[0] // 4]))
    for i, size in enumerate(sizes[1:], 1):
        more = [graph.value(f"x{source}") for source, reader in (shortcuts or {}).items() if reader == i]
        kind = tensor(DType.F32, [size // 4])
        value = graph.add("Sum", [value, *more], outputs=[f"x{i}"], name=f"n{i}", types=[kind]).output
    graph.add_output(value)
    return graph


def cuts(graph: Graph, limit: int, taps: str | None = None) -> list[str]:
    """The last node of each segment but the last."""
    values = [v for v in graph.values() if taps is None or v.name in taps.split()]
    return [segment.graph.nodes[-1].name for segment in split(graph, values, limit)][:-1]


def test_a_segment_holds_no_more_than_the_limit() -> None:
    graph = chain([400] * 9)
    assert cuts(graph, 8 * 400) == []
    assert cuts(graph, 4 * 400) == ["n4"]
    assert cuts(graph, 800) == ["n2", "n4", "n6"]
    assert cuts(graph, 1) == [f"n{i}" for i in range(1, 8)]
    assert cuts(graph, 400, taps="x3") == ["n3"]  # beside the output


def test_cuts_are_where_little_crosses() -> None:
    sizes = [400, 400, 400, 40, 400, 400]
    assert cuts(chain(sizes), 3 * 400) == ["n3"]
    assert cuts(chain([400] * 6), 4 * 400) == ["n4"]
    assert cuts(chain([400] * 6, {2: 5}), 4 * 400) == ["n2"]
    assert cuts(chain([400] * 6), 3 * 400, taps="x1 x3 x4") == ["n4"]  # x2 would be fetched for the cut alone


def test_no_cut_where_a_session_could_not_begin() -> None:
    for kind in (UNKNOWN, SequenceType(tensor(DType.F32, [100]))):
        graph = chain([400] * 6)
        for name in ("x1", "x2", "x4"):
            graph.value(name).type = kind
        assert cuts(graph, 400, taps="x0 x1 x2 x3 x4 x5") == ["n3"]


def test_bytes_of_unknown_shapes_are_constants() -> None:
    graph = Graph()
    shapes: list[tuple[Dim, ...] | None] = [(2, 3), ("N", 3), (None, "L"), None]
    kinds = [tensor(DType.F16, s) if s is not None else UNKNOWN for s in shapes]
    values = [graph.add_input(f"x{i}", kind) for i, kind in enumerate(kinds)]
    assert [estimated_bytes(v) for v in values] == [12, 6, 256, 1 << 20]


def test_crossing_values_and_outputs() -> None:
    graph = chain([400] * 6, {1: 5})
    first, second, third = split(graph, [graph.value("x2"), graph.value("x4")], 500)
    assert [v.name for v in first.graph.outputs] == ["x1", "x2"]
    assert (first.kept, first.last_read) == ({"x1", "x2"}, ("x0",))
    assert [v.name for v in second.graph.outputs] == ["x4"]
    assert (second.kept, second.last_read) == ({"x4"}, ("x2",))
    assert ([v.name for v in third.graph.outputs], third.last_read) == (["x5"], ("x4", "x1"))


def stages(session: SegmentedSession, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All taps, and the outputs."""
    found: dict[str, np.ndarray] = {}
    outputs: dict[str, np.ndarray] = {}
    for tensors in session.stages({"x": x}, outputs):
        found.update(tensors)
    return found, outputs


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_segments_compute_what_the_graph_computes(limit: int) -> None:
    graph, x = conv_net(), images(1)
    names = ["x", "c1", "r", "c2"]
    found, outputs = stages(SegmentedSession(graph, [graph.value(n) for n in names], limit), x)
    expected = Session(graph, taps=names, threads=1).run({"x": x})
    assert list(found) == names
    assert outputs.keys() == {"logits"}
    for name, array in {**found, **outputs}.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 4, 6, 6), ("N", 4, 7, 6), ("N", 4, 6), ("N",)])
def test_wrongly_declared_shapes_do_not_matter(shape: tuple[Dim, ...]) -> None:
    graph, x = conv_net(), images(1)
    expected = SegmentedSession(graph, [graph.value("r")], 1).run({"x": x})
    for name in ("c1", "r", "c2"):
        graph.value(name).type = tensor(DType.F32, shape)
    found = SegmentedSession(graph, [graph.value("r")], 1).run({"x": x})
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    assert graph.value("r").tensor.shape == shape


@pytest.mark.parametrize("shape", [(7, 4, 6, 6), ("N", 4, 6), ("N",)])
def test_nor_do_they_where_a_part_is_run_alone(shape: tuple[Dim, ...]) -> None:
    graph, x = conv_net(), images(1)
    expected = Session(graph, threads=1, taps=["r"]).run({"x": x})
    for name in ("c1", "r", "c2"):
        graph.value(name).type = tensor(DType.F32, shape)
    copy = graph.clone()
    parts = Chain(copy, [copy.value("r")], 1)
    assert len(parts.links) > 1
    np.testing.assert_allclose(parts.outputs(0, {"x": x})["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    state = {"x": x}
    infer_anew(graph)
    for step in steps_of(graph, ["c1", "c2"]):
        made = step.link().run(state)
        assert set(step.results) <= set(made)
    np.testing.assert_allclose(state["logits"], expected["logits"], rtol=1e-5, atol=1e-6)


def test_quants_are_bypassed_also_where_they_are_returned() -> None:
    graph, x = conv_net(), images(1)
    kind = graph.value("r").tensor.with_quant(QuantSpec(DType.I8))
    quant = graph.add("quant", [graph.value("r")], outputs=["r.q"], domain="qir", types=[kind],
                      before=graph.node("conv2"))  # fmt: skip
    graph.node("conv2").set_input(0, quant.output)
    graph.add_output(quant.output)
    before = str(graph)
    found, outputs = stages(SegmentedSession(graph, [quant.output], 1), x)
    expected = Session(graph, threads=1).run({"x": x})
    np.testing.assert_allclose(outputs["r.q"], expected["r.q"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["logits"], expected["logits"], rtol=1e-5, atol=1e-6)
    assert found.keys() == {"r"}
    assert str(graph) == before


def test_inputs_and_constants_that_the_graph_returns() -> None:
    graph = elementwise("Relu")
    graph.add_output(graph.value("x"))
    graph.add_output(graph.constant(np.float32([5]), "five"))
    x = np.float32([[1, -1, 2, -2]])
    outputs = SegmentedSession(graph, []).run({"x": x})
    assert list(outputs) == ["y", "x", "five"]
    np.testing.assert_array_equal(outputs["x"], x)
    np.testing.assert_array_equal(outputs["five"], [5])


def test_feeds_are_those_of_the_model() -> None:
    session = SegmentedSession(conv_net(), [], 1)
    with pytest.raises(CalibrationError, match="the model has no input 'X'; its inputs are x"):
        session.run({"X": images(1)})
    with pytest.raises(CalibrationError, match="no data for the model's input 'x'"):
        session.run({})
