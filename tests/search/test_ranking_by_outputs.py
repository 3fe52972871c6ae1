"""Layers ranked by the model's outputs, where these say little: saturated, without effect, no floats."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from chain import LAYERS, Counting, chain, samples

import qir
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.types import tensor
from qir.runtime.session import Session
from qir.search.steps import SearchResult


def ended(op: str, *operands: Value, graph: Graph) -> Graph:
    """The graph with a node of `op` at its end, over the last axis."""
    dtype, width = (DType.I64, 1) if op == "ArgMax" else (DType.F32, 8)
    axis = {} if op == "Mul" else {"axis": 1}
    end = graph.add(
        op, [graph.outputs[0], *operands], outputs=[f"end{op}.y"], types=[tensor(dtype, ["N", width])],
        attributes=axis, name=f"end{op}",
    )  # fmt: skip
    graph.set_output(0, end.output)
    return graph


def ranked(folder: Path, model: Graph, data: dict[str, np.ndarray], **options: object) -> SearchResult:
    given = {"model": model, "data": data, "output": folder / "c", **options}
    return qir.auto_quantize(**{**given, "evaluator": Counting(set())})  # type: ignore[arg-type]


def test_a_first_sample_that_saturates_the_output_does_not_rank_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    many = samples(200)["x"]
    scores = np.sort(Session(chain()).run({"x": many})["g5.r"])
    margins = scores[:, -1] - scores[:, -2]
    order = np.argsort(margins)
    data = {"x": many[[order[-1], *order[:7]]]}
    model = chain()
    sure = np.full(8, 100 / margins.max(), np.float32)  # one-hot for the first sample, to the last bit
    ended("Softmax", graph=ended("Mul", model.constant(sure, "sure"), graph=model))
    found = ranked(tmp_path, model, data)
    assert not caplog.records  # ranked by the outputs all the same
    assert len(set(found.ranking.scores.values())) == len(LAYERS)
    assert all(score < 1 - 1e-12 for score in found.ranking.scores.values())


def test_one_sample_ranks_where_it_tells_layers_apart(tmp_path: Path) -> None:
    data = samples(8)
    found = ranked(tmp_path / "a", ended("Softmax", graph=chain()), data)
    data["x"][1:] = data["x"][1:][::-1]
    other = ranked(tmp_path / "b", ended("Softmax", graph=chain()), data)
    assert found.ranking == other.ranking


def test_outputs_that_nothing_moves_leave_the_ranking_to_the_layers_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = chain()
    ended("Mul", model.constant(np.zeros(8, np.float32), "zero"), graph=model)
    with caplog.at_level(logging.WARNING, "qir.search.sensitivity"):
        found = ranked(tmp_path, model, samples())
    assert "no layer moves the outputs of the model on 4 calibration samples" in caplog.text
    layer = ranked(tmp_path, chain(), samples(), sensitivity_mode="layer", restart=True)
    assert found.ranking == layer.ranking


def test_classes_are_compared_by_the_scores_behind_them(tmp_path: Path) -> None:
    found = ranked(tmp_path / "a", ended("ArgMax", graph=chain()), samples())
    expected = ranked(tmp_path / "b", chain(), samples())
    assert found.ranking == expected.ranking
