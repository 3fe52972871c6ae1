"""Error along the graph and partial quantization against a model that is rounded by numpy, node by node."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rounded_net import each_sample, values_of

from qir.debug import plot_acc_error, sensitivity_analysis
from qir.debug.error import error_table
from qir.debug.opened import Opened
from qir.debug.partial import partial_table
from qir.debug.tables import PartialRow, PartialTable
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.runtime.metrics import CosineSimilarity, metric_named
from qir.runtime.switches import Choice, all_readings, switchables

RESULTS = {
    "first": "a", "act": "r", "second": "c", "third": "d", "sum": "s", "dense": "m", "bias": "y",
}  # fmt: skip


def expected(graph: Graph, choice: Choice, metric: str) -> list[float]:
    """The mean score of each node's result."""
    measure = metric_named(metric)
    scores = []
    for feeds in each_sample():
        before, after = values_of(graph, frozenset(), feeds), values_of(graph, choice, feeds)
        scores.append([measure.compare(before[v], after[v]) for v in RESULTS.values()])
    return [float(mean) for mean in np.mean(scores, axis=0)]


def everything(graph: Graph, operands: Any = "all", but: tuple[str, ...] = ()) -> Choice:
    return all_readings((i for i in switchables(graph).values() if i.node not in but), operands)


def test_curves_of_weights_activations_and_everything(closed: Graph, opened: Opened) -> None:
    table = error_table(opened, metric="mse")
    assert {node.node: node.output for node in table.nodes} == RESULTS  # no integers
    kinds = {"everything": "all", "weights": "weight", "activations": "activation"}
    assert {curve.label: curve.operands for curve in table.curves} == kinds
    for curve in table.curves:
        wanted = expected(closed, everything(closed, curve.operands), "mse")
        assert curve.scores == pytest.approx(wanted, rel=2e-3)
    assert table.samples == 3


def test_curves_of_nodes_groups_and_all_but_them(closed: Graph, opened: Opened) -> None:
    only: list[Any] = ["second", ["first", "dense"], "weight"]
    table = error_table(opened, only, ["first", ["second", "third"], "activation"], "mse")
    wanted = {
        "second": everything(closed, but=("first", "third", "dense")),
        "first + dense": everything(closed, but=("second", "third")),
        "weights": everything(closed, "weight"),
        "all but first": everything(closed, but=("first",)),
        "all but second + third": everything(closed, but=("second", "third")),
        "all but activations": everything(closed, "weight"),
    }
    assert [curve.label for curve in table.curves] == list(wanted)
    for curve in table.curves:
        scores = expected(closed, wanted[curve.label], "mse")
        assert curve.scores == pytest.approx(scores, rel=2e-3)
    assert table.curves[0].scores[:2] == (0.0, 0.0)  # nothing in front of "second" changes
    assert table.curves[1].quantized == ("first", "dense")


def test_average_mode_is_the_mean_over_the_nodes_so_far(opened: Opened) -> None:
    plain = error_table(opened, metric="mae", data_num=2)
    mean = error_table(opened, metric="mae", average_mode=True, data_num=2)
    for a, b in zip(plain.curves, mean.curves, strict=True):
        running = np.cumsum(a.scores) / np.arange(1, len(a.scores) + 1)
        assert b.scores == pytest.approx(running.tolist())


def test_error_files(opened: Opened, tmp_path: Path) -> None:
    table = plot_acc_error(tmp_path / "new" / "folder", None, opened, ["weight"], metric="sqnr")
    folder = tmp_path / "new" / "folder"
    found = json.loads((folder / "error.json").read_text())
    assert (found["kind"], found["samples"], found["average_mode"]) == ("error", 3, False)
    assert found["metric"] == {"name": "sqnr", "worse": "low"}
    (curve,) = found["curves"]
    assert curve["scores"] == list(table.curves[0].scores)
    assert (curve["label"], curve["operands"]) == ("weights", "weight")
    lines = list(csv.DictReader(io.StringIO((folder / "error.csv").read_text())))
    assert [line["output"] for line in lines] == list(RESULTS.values())
    assert [float(line["weights"]) for line in lines] == list(table.curves[0].scores)
    assert (folder / found["picture"]).read_bytes().startswith(b"\x89PNG")


def test_partial_quantization(closed: Graph, opened: Opened, tmp_path: Path) -> None:
    table = sensitivity_analysis(opened, None, 1.0, 2, save_dir=tmp_path)
    metric = CosineSimilarity()

    def score(choice: Choice) -> float:
        both = [(values_of(closed, frozenset(), f), values_of(closed, choice, f)) for f in each_sample()[:2]]
        return float(np.mean([min(metric.compare(a[n], b[n]) for n in ("y", "s")) for a, b in both]))

    names = [row.node for row in table.rows]
    assert sorted(names) == ["dense", "first", "second", "third"]
    alone = [row.alone for row in table.rows]
    assert alone == sorted(alone)
    known = switchables(closed)
    for place, row in enumerate(table.rows, 1):
        assert 1 - row.alone == pytest.approx(1 - score(known[row.node].readings()), rel=5e-3)
        rest = everything(closed, but=tuple(names[:place]))
        assert 1 - row.without == pytest.approx(1 - score(rest), rel=5e-3, abs=1e-9)
    assert 1 - table.all_quantized == pytest.approx(1 - score(everything(closed)), rel=5e-3)
    found = json.loads((tmp_path / "partial.json").read_text())
    assert [(r["node"], r["alone"], r["without"]) for r in found["rows"]] == [
        (r.node, r.alone, r.without) for r in table.rows
    ]
    assert (found["picked"], found["saturates_at"]) == ("threshold", table.saturates_at)
    assert table.saturates_at is not None
    assert (tmp_path / "partial.png").read_bytes().startswith(b"\x89PNG")


def test_which_nodes_are_analysed(opened: Opened) -> None:
    given = partial_table(opened, sensitive_nodes=["third", ["first", "dense"]])
    assert (given.picked, [row.node for row in given.rows]) == ("given", ["third", "first + dense"])
    twice = partial_table(opened, sensitive_nodes=["third", ["first", "first"], "third"])
    assert [row.node for row in twice.rows] == ["third", "first"]
    every = partial_table(opened, pick_threshold=-1)
    assert (every.picked, len(every.rows)) == ("worst", 4)
    some = partial_table(opened, pick_threshold=sorted(row.alone for row in every.rows)[2])
    assert (some.picked, len(some.rows)) == ("threshold", 2)
    assert [row.node for row in some.rows] == [row.node for row in every.rows[:2]]


def test_where_the_curve_saturates() -> None:
    def table(whole: float, *without: float) -> PartialTable:
        rows = tuple(PartialRow(f"n{i}", "Conv", 0.9, score) for i, score in enumerate(without))
        return PartialTable(None, CosineSimilarity(), 1, 0.999, "threshold", whole, rows)

    assert table(0.5, 0.6, 0.995, 0.999, 1.0).saturates_at == 2
    assert table(0.5, 0.6, 0.8, 0.9).saturates_at is None
    assert table(0.5, 0.6, 0.8, 0.9).still_gains
    assert table(0.5, 0.6, 0.8, 1.0).saturates_at == 3, "the model is the float one"
    assert not table(0.5, 0.6, 0.995, 0.999, 1.0).still_gains
    assert table(0.5, 0.5, 0.4).saturates_at is None
    assert not table(0.5, 0.5, 0.4).still_gains
    assert table(0.5).saturates_at is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize_node": []}, "quantize_node: the list is empty"),
        ({"non_quantize_node": []}, "non_quantize_node: the list is empty"),
        (
            {"quantize_node": ["secnod"]},
            "quantize_node: the model has no node 'secnod'; did you mean 'second'",
        ),
        ({"quantize_node": ["wieght"]}, "the model has no node 'wieght'; did you mean 'weight'?"),
        ({"quantize_node": [["weight", "first"]]}, "quantize_node: 'weight' stands alone, not in a list"),
        ({"non_quantize_node": ["sum"]}, r"non_quantize_node: node 'sum' \(Add\) has no quantizers"),
        ({"metric": "msee"}, "there is no metric 'msee'; did you mean 'mse'"),
        ({"data_num": 9}, "9 samples were asked for, the data have 3"),
    ],
)
def test_bad_arguments_of_curves(opened: Opened, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        error_table(opened, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pick_threshold": 2.0}, "pick_threshold: a cosine is expected"),
        ({"sensitive_nodes": []}, "sensitive_nodes: the list is empty"),
        ({"sensitive_nodes": ["nothing"]}, "sensitive_nodes: the model has no node"),
        ({"data_num": 4}, "4 samples were asked for"),
    ],
)
def test_bad_arguments_of_partial(opened: Opened, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        partial_table(opened, **arguments)
