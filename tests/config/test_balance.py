"""AMCT's DMQ balancer from its configuration: the reference's factors, record and deploy graph."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
from amct_models import DATA, TARGET, graph_of

from qir.backends.ascend import deploy
from qir.backends.ascend.record import records
from qir.backends.ascend.record_reader import parse_record
from qir.config.run import quantize_configured
from qir.config.settings import InputSettings, LayerSettings, QuantConfig
from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.passes.pipeline import parse_pipeline
from qir.runtime.balance_factors import balance_factors
from qir.runtime.data import open_data
from qir.runtime.session import Session


@cache
def balanced() -> Graph:
    graph = graph_of("dmq")
    context = Context(rules=TARGET.rules, data=open_data(DATA / "dmq" / "calib.npz", graph))
    base = parse_pipeline("amct", named=TARGET.pipelines)
    return quantize_configured(graph, DATA / "dmq" / "config.json", TARGET, base, context).graph


def test_record_is_the_references_within_the_last_bits() -> None:
    found, expected = records(balanced()), parse_record((DATA / "dmq" / "record.txt").read_text())
    assert list(found) == list(expected)
    for name, golden in expected.items():
        mine = found[name]
        # float32 powers of the reference's library are not correctly rounded
        np.testing.assert_allclose(mine.tensor_balance_factor, golden.tensor_balance_factor, rtol=4e-7)
        np.testing.assert_allclose(mine.scale_w, golden.scale_w, rtol=4e-7)
        assert abs(mine.scale_d / golden.scale_d - 1) < 1e-6, name
        assert mine.offset_d == golden.offset_d, name


def test_deploy_graph_has_the_nodes_of_the_reference() -> None:
    golden = onnx.load(DATA / "dmq" / "amct_deploy_model.onnx")
    found = {n.name: n for n in deploy.lower(balanced()).nodes}
    for node in golden.graph.node:
        if node.name.endswith((".tensor_balance_factor", ".mul", ".quant", ".dequant")):
            assert found[node.name].op == node.op_type
    assert sum(name.endswith(".mul") for name in found) == 6


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_factors_are_the_references(strength: float) -> None:
    with np.load(DATA / "vectors.npz") as vectors:
        inputs, weights = (np.abs(vectors[name]).max(axis=1) for name in ("dmq_x", "dmq_w"))
        expected = vectors[f"dmq_factor_{strength}"]
    assert 0 in inputs
    assert 0 in weights
    np.testing.assert_allclose(balance_factors(inputs, weights, strength), expected, rtol=4e-7)


def test_factors_of_nothing_and_of_extremes() -> None:
    zeros = np.zeros(2, np.float32)
    assert balance_factors(zeros, zeros, 0.5).tolist() == [1, 1]
    wide = balance_factors(np.float32([1e-38, 1e38]), np.float32([1e30, 1e-30]), 0.5)
    epsilon = np.finfo(np.float32).eps
    assert wide.tolist() == [epsilon, 1 / epsilon]


def test_balancing_leaves_the_float_result() -> None:
    graph = graph_of("dmq")
    config = QuantConfig(default=LayerSettings(inputs=InputSettings(), balance=0.3))
    data = open_data(DATA / "dmq" / "calib.npz", graph)
    base = parse_pipeline("infer-types,insert-quant", named={})
    context = Context(rules=TARGET.rules, data=data)
    made = quantize_configured(graph, config, TARGET, base, context).graph
    for node in made.nodes:
        if node.op == "quant":
            assert node.inputs[0] is not None
            made.replace(node.output, node.inputs[0])
    with np.load(DATA / "dmq" / "test.npz") as test:
        feeds = {"input": test["input"]}
    (expected,), (found,) = (Session(g, threads=1).run(feeds).values() for g in (graph, made))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
