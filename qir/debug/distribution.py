"""Histograms of what a node reads and gives: activation, weights, output, before and after quantization."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qir.config.open import ConfigSource
from qir.debug.files import FilePath, prepare, write_nodes
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.plots.histograms import distribution_plot
from qir.debug.selection import groups_of, node_named, range_of
from qir.debug.spreads import Bars, DistributionTable, NodeBars
from qir.ir.graph import Graph
from qir.ir.quants import quant_of, unquantized
from qir.ir.types import QuantParams
from qir.runtime.along import PairRunner
from qir.runtime.compensation import rounded_array
from qir.runtime.data import DataSource
from qir.runtime.histogram import I64, Histogram
from qir.runtime.rounder import closed_precision
from qir.runtime.shadows import with_shadows
from qir.runtime.statistics import TensorStatistics
from qir.runtime.switches import Reading, Switchable, all_readings
from qir.runtime.units import Array
from qir.runtime.workers import cores, ordered_map

SAMPLES = 8
"""Samples by default."""
BINS = 64
"""At most so many bins has a histogram."""
_PLAIN, _QUANTIZED = 0, 1  # variants of the run: what nodes read in float, and what they give


def plot_distribution(
    save_dir: FilePath,
    model: DebugModel,
    calibrated_data: DataSource | None,
    nodes_list: Sequence[str] | str,
    *,
    data_num: int | None = None,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> DistributionTable:
    """Histograms of nodes: distribution.csv, .json and a .png for each node.

    For each node (or quantized tensor, which stands for the first node that reads it): the activation that
    it reads with the range of its integers, the weights before and after, and its output in the float model
    and with everything quantized, and the difference of both. Over the first `data_num` samples (None: 8, or
    fewer). `model` and `config` as in `get_sensitivity_of_nodes`.

    Raises a QirError that says what to do.
    """
    prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    table = distribution_table(opened, nodes_list, data_num)
    write_nodes(table, os.fspath(save_dir), distribution_plot if plot else None)
    return table


def distribution_table(
    opened: Opened, nodes_list: Sequence[str] | str, data_num: int | None = None
) -> DistributionTable:
    """The table of `plot_distribution`, which explains the arguments."""
    groups = groups_of(nodes_list, "nodes_list")
    nodes = [
        node_named(opened.graph, opened.switchables, name, "nodes_list") for group in groups for name in group
    ]
    nodes = list({node.node: node for node in nodes}.values())
    measured = _measure(opened, nodes, data_num)
    made = [NodeBars(node.node, node.op, _histograms(opened.graph, node, measured)) for node in nodes]
    return DistributionTable(opened.name, measured.samples, tuple(made))


@dataclass
class _Measured:
    """Statistics by name of the float value."""

    samples: int
    activations: dict[str, TensorStatistics]
    outputs: dict[str, TensorStatistics]
    quantized: dict[str, TensorStatistics]
    errors: dict[str, TensorStatistics]


_Found = tuple[TensorStatistics, TensorStatistics, TensorStatistics]


def _measure(opened: Opened, nodes: Sequence[Switchable], data_num: int | None) -> _Measured:
    """One run of the float and of the quantized model over the samples."""
    everything = all_readings(opened.switchables.values())
    graph, (shadows,) = with_shadows(opened.graph, [everything])
    read = {tensor: tensor for node in nodes for tensor in node.activations.values()}
    results = {node.result: shadows[node.result] for node in nodes if node.result in shadows}
    runner = PairRunner(graph, [read, results])
    measured = _Measured(0, {}, {}, {}, {})
    with opened.progress.task("distributions", None) as task:
        run = functools.partial(runner.run, visit=_statistics)
        for found in ordered_map(run, opened.samples(data_num, SAMPLES), cores(), runner.stop):
            for (variant, name), parts in found.items():
                _take(measured, variant, name, parts)
            measured.samples += 1
            task.advance()
    return measured


def _statistics(_: str, expected: Array, got: Array) -> _Found:
    """Of the float values, of the others, and of their differences."""
    found = TensorStatistics(), TensorStatistics(), TensorStatistics()
    found[0].update(expected)
    if got is not expected and got.shape == expected.shape:
        found[1].update(got)
        found[2].update(np.subtract(got, expected, dtype=np.float32))
    return found


def _take(measured: _Measured, variant: int, name: str, parts: _Found) -> None:
    homes = (measured.activations,) if variant == _PLAIN else (
        measured.outputs, measured.quantized, measured.errors,
    )  # fmt: skip
    for home, part in zip(homes, parts, strict=False):
        home[name] = part if name not in home else TensorStatistics.merge(home[name], part)


def _histograms(graph: Graph, node: Switchable, measured: _Measured) -> tuple[Bars, ...]:
    found: list[Bars] = []
    for reading, tensor in node.activations.items():
        params = _params(graph, reading)
        found += _bars([("activation", tensor, measured.activations[tensor])], range_of(params))
    for reading, tensor in node.weights.items():
        found += _weight_bars(graph, reading, tensor)
    name = node.result
    if name in measured.outputs:
        pair = ("output", measured.outputs), ("output quantized", measured.quantized)
        found += _bars([(series, name, home[name]) for series, home in pair], None)
        found += _bars([("error", name, measured.errors[name])], None)
    return tuple(found)


def _params(graph: Graph, reading: Reading) -> QuantParams:
    params = quant_of(graph.node(reading.node).input(reading.index))
    assert isinstance(params, QuantParams)
    return params


def _weight_bars(graph: Graph, reading: Reading, tensor: str) -> list[Bars]:
    """Weights before and after; the range of a single scale."""
    value = graph.node(reading.node).input(reading.index)
    assert value is not None
    constant = unquantized(value).constant
    assert constant is not None
    params = _params(graph, reading)
    before, after = TensorStatistics(), TensorStatistics()
    before.update(constant.array)
    after.update(rounded_array(constant.array, closed_precision(value, graph.node(reading.node))))
    return _bars([("weight", tensor, before), ("weight quantized", tensor, after)], range_of(params))


def _bars(
    series: Sequence[tuple[str, str, TensorStatistics]], span: tuple[float, float] | None
) -> list[Bars]:
    """Histograms in the same bins; the range of the integers goes with the first. Empty tensors have none."""
    filled = [item for item in series if item[2].count]
    if not filled:
        return []
    low = min(min(item[2].minimum, 0.0) for item in filled)
    high = max(max(item[2].maximum, 0.0) for item in filled)
    step = _step(low, high)
    first, last = math.floor(low / step), max(math.floor(high / step), math.floor(low / step))
    found = []
    for i, (name, tensor, statistics) in enumerate(filled):
        histogram = statistics.histogram
        own = span if i == 0 else None
        found.append(
            Bars(
                name, tensor, first * step, step, _counts(histogram, step, first, last), statistics.count,
                statistics.minimum, statistics.maximum, histogram.zeros / statistics.count,
                None if own is None else own[0], None if own is None else own[1],
                None if own is None else _outside(histogram, *own) / statistics.count,
            )
        )  # fmt: skip
    return found


def _step(low: float, high: float) -> float:
    """The smallest power of two that spans [low, high] in at most BINS bins aligned at zero."""
    if low == high:
        return 1.0
    step = 2.0 ** math.ceil(math.log2((high - low) / BINS))
    while math.floor(high / step) - math.floor(low / step) >= BINS:
        step *= 2
    return step


def _counts(histogram: Histogram, step: float, first: int, last: int) -> tuple[int, ...]:
    """Fine bins put together. Bin k reaches from k to the next one away from zero, bin 0 both ways."""
    places = np.arange(histogram.first, histogram.last + 1)
    starts = np.where(places < 0, places - 1, places) * histogram.width
    target = np.clip(np.floor(starts / step).astype(np.int64), first, last) - first
    counts: I64 = np.zeros(last - first + 1, np.int64)
    np.add.at(counts, target, histogram.counts)
    return tuple(counts.tolist())


def _outside(histogram: Histogram, low: float, high: float) -> int:
    """Elements in bins that lie wholly outside [low, high]: right to within a bin at either end."""
    places = np.arange(histogram.first, histogram.last + 1)
    starts = np.where(places <= 0, places - 1, places) * histogram.width
    ends = np.where(places < 0, places, places + 1) * histogram.width
    return int(histogram.counts[(ends < low) | (starts > high)].sum())
