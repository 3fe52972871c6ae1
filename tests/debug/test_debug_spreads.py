"""Distributions and channels against numpy on the same values; the folder of runall."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rounded_net import each_sample, values_of

from qir.debug import get_channelwise_data_distribution, plot_distribution, runall
from qir.debug.channels import channel_table
from qir.debug.distribution import distribution_table
from qir.debug.opened import Opened
from qir.debug.spreads import Bars
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.ir.quants import quant_of
from qir.ir.types import QuantParams
from qir.runtime.switches import all_readings, switchables
from qir.runtime.weights import fake_quantize


def values(graph: Graph, name: str, quantized: bool = False) -> Any:
    """A tensor over all samples, in float or with everything quantized."""
    choice = all_readings(switchables(graph).values()) if quantized else frozenset()
    return np.concatenate([values_of(graph, choice, feeds)[name] for feeds in each_sample()])


def check_bars(bars: Bars, array: Any) -> None:
    assert bars.count == array.size
    assert (bars.least, bars.greatest) == pytest.approx((array.min(), array.max()), rel=1e-4)
    zeros = np.count_nonzero(array == 0)
    assert bars.zero_share == pytest.approx(zeros / array.size)
    assert len(bars.counts) <= 64
    assert sum(bars.counts) == array.size - zeros
    edges = bars.left + bars.step * np.arange(len(bars.counts) + 1)
    counts, _ = np.histogram(array[array != 0], edges)
    moved = np.abs(counts - np.array(bars.counts)).sum()
    assert moved <= 0.02 * array.size  # around zero, by less than a fine bin


def test_histograms_of_a_node(closed: Graph, opened: Opened) -> None:
    (node,) = distribution_table(opened, ["second"]).nodes
    bars = {item.series: item for item in node.histograms}
    assert list(bars) == [
        "activation", "weight", "weight quantized", "output", "output quantized", "error",
    ]  # fmt: skip
    read, weight = closed.node("second").inputs[:2]
    assert read is not None
    assert weight is not None
    activation, constant = values(closed, "r"), closed.value("w2").constant
    params, scales = quant_of(read), quant_of(weight)
    assert isinstance(params, QuantParams)
    assert isinstance(scales, QuantParams)
    assert constant is not None
    check_bars(bars["activation"], activation)
    low, high = ((edge - params.zero_point[0]) * params.scale[0] for edge in (-128, 127))
    assert (bars["activation"].low, bars["activation"].high) == pytest.approx((low, high))
    outside = np.count_nonzero((activation < low) | (activation > high)) / activation.size
    assert bars["activation"].outside_share == pytest.approx(outside, abs=2e-3)
    check_bars(bars["weight"], constant.array)
    check_bars(bars["weight quantized"], fake_quantize(constant.array, scales))
    before, after = values(closed, "c"), values(closed, "c", quantized=True)
    check_bars(bars["output"], before)
    check_bars(bars["output quantized"], after)
    check_bars(bars["error"], after - before)
    assert (bars["output"].left, bars["output"].step) == (
        bars["output quantized"].left, bars["output quantized"].step,
    )  # fmt: skip


def test_distribution_files_are_made_for_each_node(opened: Opened, tmp_path: Path) -> None:
    table = plot_distribution(tmp_path, opened, None, ["dense", "r", "dense"], data_num=2)
    assert [node.node for node in table.nodes] == ["dense", "second"]  # the first that reads %r
    found = json.loads((tmp_path / "distribution.json").read_text())
    assert (found["kind"], found["samples"]) == ("distribution", 2)
    for node, item in zip(table.nodes, found["nodes"], strict=True):
        assert item["picture"] == f"distribution_{node.node}.png"
        assert (tmp_path / item["picture"]).read_bytes().startswith(b"\x89PNG")
        assert [h["counts"] for h in item["histograms"]] == [list(h.counts) for h in node.histograms]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "distribution.csv").read_text())))
    errors = [line for line in lines if line["node"] == "dense" and line["series"] == "error"]
    bars = next(h for h in table.nodes[0].histograms if h.series == "error")
    assert [int(line["count"]) for line in errors] == list(bars.counts)
    assert float(errors[0]["from"]) == bars.left


def test_spread_of_channels(closed: Graph, opened: Opened) -> None:
    (node,) = channel_table(opened, ["second"]).nodes
    read, weight = node.boxes
    assert (read.of, read.tensor, read.axis, weight.of, weight.tensor, weight.axis) == (
        "activation", "r", 1, "weight", "w2", 0,
    )  # fmt: skip
    constant = closed.value("w2").constant
    assert constant is not None
    for boxes, array in ((read, np.moveaxis(values(closed, "r"), 1, 0)), (weight, constant.array)):
        rows = array.reshape(len(array), -1)
        assert boxes.least == pytest.approx(rows.min(axis=1).tolist(), rel=1e-4)
        assert boxes.greatest == pytest.approx(rows.max(axis=1).tolist(), rel=1e-4)
        for part, numbers in ((0.25, boxes.lower), (0.5, boxes.median), (0.75, boxes.upper)):
            wanted = np.quantile(rows, part, axis=1)
            tolerance = 0.03 * float(rows.max() - rows.min())
            assert list(numbers) == pytest.approx(wanted.tolist(), abs=tolerance)


def test_axes_of_channels(opened: Opened) -> None:
    dense = channel_table(opened, "dense").nodes[0]
    assert [(b.of, b.axis, len(b.median)) for b in dense.boxes] == [("activation", 3, 8), ("weight", 1, 5)]
    rows = channel_table(opened, "dense", axis=0, data_num=2).nodes[0]
    assert [(b.of, b.axis, len(b.median)) for b in rows.boxes] == [("activation", 0, 1), ("weight", 0, 8)]


def test_channel_files(opened: Opened, tmp_path: Path) -> None:
    table = get_channelwise_data_distribution(tmp_path, opened, None, ["first"], data_num=1)
    found = json.loads((tmp_path / "channels.json").read_text())
    (item,) = found["nodes"]
    assert [box["median"] for box in item["boxes"]] == [list(box.median) for box in table.nodes[0].boxes]
    lines = list(csv.DictReader(io.StringIO((tmp_path / "channels.csv").read_text())))
    assert [float(line["median"]) for line in lines] == [m for b in table.nodes[0].boxes for m in b.median]
    assert (tmp_path / item["picture"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("names", "axis", "message"),
    [
        ([], None, "nodes_list: the list is empty"),
        (["frist"], None, "nodes_list: the model has no node 'frist'; did you mean 'first'"),
        (["act"], None, "has no quantizers"),
        (["first"], 4, "axis: tensor 'x' of shape .* has no axis 4"),
        (["first"], "1", "axis: a whole number is expected"),
    ],
)
def test_bad_arguments_of_spreads(opened: Opened, names: list[str], axis: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        channel_table(opened, names, axis)
    if axis is None:
        with pytest.raises(ConfigError, match=message):
            distribution_table(opened, names)


def test_runall_leaves_everything_in_one_folder(opened: Opened, tmp_path: Path) -> None:
    found = runall(opened, None, tmp_path, plot=False)
    stems = ["sensitivity_node", "sensitivity_weight", "sensitivity_activation", "error", "distribution"]
    files = [f"{stem}.json" for stem in [*stems, "channels", "partial"]]
    assert [step.file for step in found.steps] == files
    index = json.loads((tmp_path / "debug.json").read_text())
    assert [(s["kind"], s["file"], s["problem"]) for s in index["steps"]] == [
        (step.kind, step.file, None) for step in found.steps
    ]
    for step in found.steps:
        assert step.file is not None
        content = json.loads((tmp_path / step.file).read_text())
        assert content["kind"] == step.kind
        assert (tmp_path / step.file).with_suffix(".csv").is_file()
    assert not list(tmp_path.glob("*.png"))
    assert found.page == tmp_path / "report.html"
    page = found.page.read_text(encoding="utf-8")
    assert all(row.node in page for row in found.tables[0].rows)
    worst = [row.node for row in found.tables[0].rows]
    nodes = json.loads((tmp_path / "distribution.json").read_text())["nodes"]
    assert [node["node"] for node in nodes] == worst


def test_a_job_that_fails_is_in_the_index_and_the_others_go_on(opened: Opened, tmp_path: Path) -> None:
    found = runall(opened, None, tmp_path, axis=7, plot=False)
    problems = {step.kind: step.problem for step in found.steps if step.problem is not None}
    assert list(problems) == ["channels"]
    assert "has no axis 7" in str(problems["channels"])
    assert (tmp_path / "partial.json").is_file()
    assert not (tmp_path / "channels.json").exists()
    with pytest.raises(ConfigError, match="has no quantizers"):
        runall(opened, None, tmp_path, interested_nodes=["act"], plot=False)
