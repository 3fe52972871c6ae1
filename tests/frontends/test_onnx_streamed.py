"""Files are, byte for byte, what protobuf makes of the whole message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qir.frontends.onnx import WrittenNodes, save_model, to_model
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import tensor


def sums(sizes: list[int], dtype: type = np.float32) -> Graph:
    """y = x + constants of so many elements, small ones and large ones in turn."""
    graph = Graph("sums", {"": 17, "com.microsoft": 1})
    graph.metadata["doc_string"] = "what follows the initializers"
    value = graph.add_input("x", tensor(DType.of(np.dtype(dtype)), ["N", 1]))
    for i, size in enumerate(sizes):
        constant = graph.constant((np.arange(size) % 100).astype(dtype), f"c{i}")
        value = graph.add("Add", [value, constant], outputs=[f"y{i}"], name=f"n{i}").output
    graph.add_output(value)
    return graph


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64])
@pytest.mark.parametrize("sizes", [[], [5], [100_000], [3, 70_000, 0, 1 << 21, 7]])
def test_bytes_are_those_of_the_message(sizes: list[int], dtype: type, tmp_path: Path) -> None:
    graph = sums(sizes, dtype)
    save_model(graph, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == to_model(graph).SerializeToString(deterministic=True)


def test_constants_of_bodies_stay_in_the_message(tmp_path: Path) -> None:
    graph = Graph("outer", {"": 17})
    condition = graph.add_input("condition", tensor(DType.BOOL, []))
    large = graph.constant(np.ones(100_000, np.float32), "large")
    body = Graph("body", {"": 17}, graph)
    inner = body.constant(large.constant, "large2")  # type: ignore[arg-type]  # the very same data
    body.add_output(body.add("Add", [inner, large], outputs=["sum"], name="sum").output)
    made = graph.add(
        "If",
        [condition],
        outputs=["y"],
        name="if",
        attributes={"then_branch": body, "else_branch": body.clone()},
    )
    graph.add_output(made.output)
    save_model(graph, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == to_model(graph).SerializeToString(deterministic=True)


def test_nodes_that_were_written_before_are_taken_over_where_they_are_equal(tmp_path: Path) -> None:
    """As the models of a search: nearly the same nodes, some with other operands, attributes or texts."""

    def scaled(alpha: float, operand: str, domain: str = "", note: str = "") -> Graph:
        graph = sums([5, 3])
        slopes = {"alpha": alpha, "slopes": Constant.of(np.float32([alpha, 1]))}
        last = graph.add("LeakyRelu", [graph.value(operand)], name="last", attributes=slopes)
        body = Graph("body", {"": 17}, graph)
        body.add_output(body.add("Neg", [last.output], outputs=["negative"], name="inner").output)
        condition = graph.constant(np.array(alpha > 1), "condition")
        branches = {"then_branch": body, "else_branch": body.clone()}
        choice = graph.add("If", [condition], name="choice", attributes=branches)
        last.domain = domain
        if note:
            last.metadata["note"] = note
        graph.add_output(choice.output)
        return graph

    written = WrittenNodes()
    for case in [
        (1.5, "y0"), (1.5, "y0"), (2.5, "y0"), (2.5, "y1"), (1.5, "y0"), (1.5, "y0", "com.microsoft"),
        (1.5, "y0", "", "a text"), (1.5, "y0"), (2, "y0"), (2.0, "y0"), (0.0, "y0"), (-0.0, "y0"),
    ]:  # fmt: skip
        save_model(scaled(*case), tmp_path / "m.onnx", written=written)
        expected = to_model(scaled(*case)).SerializeToString(deterministic=True)
        assert (tmp_path / "m.onnx").read_bytes() == expected, case
