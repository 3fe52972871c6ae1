"""Comparison of outputs: the textbook numbers, the same in every number of threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_graphs import conv_net, elementwise, images

from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.runtime.compare import compare_outputs
from qir.runtime.data import open_data
from qir.runtime.session import Session

X = images(20)


def rounded(graph: Graph) -> Graph:
    """The same net with coarser weights."""
    copy = graph.clone()
    value = copy.value("w2")
    assert value.constant is not None
    value.constant = Constant.of(np.round(value.constant.array * 8) / np.float32(8))
    return copy


def test_against_numpy() -> None:
    graph = conv_net()
    reference, candidate = Session(graph, threads=1), Session(rounded(graph), threads=1)
    (found,) = compare_outputs(reference, candidate, open_data({"x": X}, graph))
    one = [slice(i, i + 1) for i in range(20)]
    a = np.concatenate([reference.run({"x": X[s]})["logits"] for s in one]).astype(np.float64).ravel()
    b = np.concatenate([candidate.run({"x": X[s]})["logits"] for s in one]).astype(np.float64).ravel()
    assert (found.name, found.count) == ("logits", 80)
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-12)
    assert found.sqnr == pytest.approx(10 * np.log10((a @ a) / ((a - b) @ (a - b))), rel=1e-9)
    assert found.l1 == pytest.approx(np.abs(a - b).mean(), rel=1e-12)
    assert found.l2 == pytest.approx(np.sqrt(np.square(a - b).mean()), rel=1e-12)
    assert found.max_abs == np.abs(a - b).max()
    assert 0.9 < found.cosine < 1


def test_no_bit_depends_on_workers_or_batches() -> None:
    graph = conv_net()
    reference, candidate = Session(graph, threads=1), Session(rounded(graph), threads=1)
    found = [
        compare_outputs(reference, candidate, open_data(source, graph), workers=workers)
        for source in ({"x": X}, [{"x": X[:13]}, {"x": X[13:]}])
        for workers in (1, 3)
    ]
    assert all(other == found[0] for other in found)


def test_limit() -> None:
    graph = conv_net()
    session = Session(graph, threads=1)
    (found,) = compare_outputs(session, session, open_data({"x": X}, graph), limit=5)
    assert found.count == 20
    assert (found.cosine, found.sqnr, found.l1, found.l2, found.max_abs) == (1.0, math.inf, 0.0, 0.0, 0.0)


def test_a_dead_candidate() -> None:
    graph, dead = conv_net(), conv_net()
    dead.value("w2").constant = Constant.of(np.zeros((4, 8, 3, 3), np.float32))
    (found,) = compare_outputs(
        Session(graph, threads=1), Session(dead, threads=1), open_data({"x": X}, graph)
    )
    assert (found.cosine, found.sqnr) == (0.0, 0.0)


def test_outputs_that_cannot_be_compared_are_nan() -> None:
    graph = elementwise("Log")
    session = Session(graph, threads=1)
    (found,) = compare_outputs(session, session, open_data({"x": np.zeros((2, 4), np.float32)}, graph))
    assert math.isnan(found.cosine)
    assert math.isnan(found.sqnr)
    assert all(map(math.isnan, (found.l1, found.l2, found.max_abs)))
    assert not found.other_shape
    counting, relu = elementwise("NonZero"), elementwise("Relu")
    data = open_data({"x": np.ones((2, 4), np.float32)}, relu)
    (found,) = compare_outputs(Session(relu, threads=1), Session(counting, threads=1), data)
    assert math.isnan(found.cosine)
    assert found.other_shape
