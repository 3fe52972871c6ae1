"""How the values of each channel spread, for what nodes read and for their weights."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from qir.config.open import ConfigSource
from qir.debug.files import FilePath, prepare, write_nodes
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.plots.boxes import channels_plot
from qir.debug.selection import groups_of, node_named
from qir.debug.spreads import Boxes, ChannelTable, NodeBoxes
from qir.ir.errors import ArgumentError
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import unquantized
from qir.runtime.along import PairRunner
from qir.runtime.channel_spread import (
    F64,
    I64,
    Spread,
    channel_counts,
    channel_ranges,
    checked_axis,
    exact_spread,
    spread_of,
)
from qir.runtime.data import DataSource
from qir.runtime.shadows import with_shadows
from qir.runtime.switches import Reading, Switchable
from qir.runtime.units import Array
from qir.runtime.workers import cores, ordered_map

T = TypeVar("T")
SAMPLES = 8
"""Samples by default."""


def get_channelwise_data_distribution(
    save_dir: FilePath,
    model: DebugModel,
    calibrated_data: DataSource | None,
    nodes_list: Sequence[str] | str,
    axis: int | None = None,
    *,
    data_num: int | None = None,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> ChannelTable:
    """Box plots by channel: channels.csv, .json and a .png for each node.

    For each node (or quantized tensor, which stands for the first node that reads it) the activation that it
    reads, in float, and its weights. `axis` is that of the channels; None: 1 of what convolutions read, the
    last of what Gemm and MatMul read, and that of the output channels of weights. Over the first `data_num`
    samples (None: 8, or fewer). `model` and `config` as in `get_sensitivity_of_nodes`.

    Raises a QirError that says what to do.
    """
    prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    table = channel_table(opened, nodes_list, axis, data_num)
    write_nodes(table, os.fspath(save_dir), channels_plot if plot else None)
    return table


def channel_table(
    opened: Opened, nodes_list: Sequence[str] | str, axis: int | None = None, data_num: int | None = None
) -> ChannelTable:
    """The table of `get_channelwise_data_distribution`, which explains the arguments."""
    if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
        raise ArgumentError("axis", f"a whole number is expected, not {axis!r}")
    names = [name for group in groups_of(nodes_list, "nodes_list") for name in group]
    nodes = [node_named(opened.graph, opened.switchables, name, "nodes_list") for name in names]
    nodes = list({node.node: node for node in nodes}.values())
    samples, spreads = _activations(opened, nodes, axis, data_num)
    made = []
    for node in nodes:
        boxes = [_boxes("activation", name, *spreads[name]) for name in node.activations.values()]
        for reading, name in node.weights.items():
            boxes.append(_boxes("weight", name, *_weight(opened.graph, reading, axis, name)))
        made.append(NodeBoxes(node.node, node.op, tuple(boxes)))
    return ChannelTable(opened.name, samples, tuple(made))


def _boxes(of: str, tensor: str, axis: int, spread: Spread) -> Boxes:
    rows = (spread.least, *spread.quartiles, spread.greatest)
    return Boxes(of, tensor, axis, *(tuple(row.tolist()) for row in rows))


def _activations(
    opened: Opened, nodes: Sequence[Switchable], axis: int | None, data_num: int | None
) -> tuple[int, dict[str, tuple[int, Spread]]]:
    """(samples, tensor -> (axis, spread)): the samples are run twice, for ranges and for counts."""
    axes: dict[str, int] = {}
    for node in nodes:
        for reading, tensor in node.activations.items():
            own = _activation_axis(opened.graph.node(reading.node))
            axes.setdefault(tensor, own if axis is None else axis)
    graph, _ = with_shadows(opened.graph, [])
    runner = PairRunner(graph, [{tensor: tensor for tensor in axes}])

    def axis_of(array: Array, tensor: str) -> int:
        if axis is None and array.ndim == 1:
            return 0
        return checked_axis(array.shape, axes[tensor], tensor)

    def ranges(tensor: str, array: Array, _: Array) -> _Range:
        place = axis_of(array, tensor)
        return _Range(place, *channel_ranges(array, place, tensor))

    def counts(tensor: str, array: Array, _: Array) -> I64:
        found = spans[tensor]
        return channel_counts(array, axis_of(array, tensor), found.least, found.greatest)

    spans: dict[str, _Range] = {}
    samples = 0
    for measured in _runs(opened, runner, ranges, data_num):
        samples += 1
        for tensor, found in measured.items():
            spans[tensor] = found if tensor not in spans else spans[tensor].joined(found, tensor)
    totals: dict[str, I64] = {}
    for counted in _runs(opened, runner, counts, data_num):
        for tensor, count in counted.items():
            totals[tensor] = totals[tensor] + count if tensor in totals else count
    return samples, {
        t: (spans[t].axis, spread_of(spans[t].least, spans[t].greatest, totals[t])) for t in totals
    }


@dataclass(frozen=True)
class _Range:
    """The range of each channel along an axis."""

    axis: int
    least: F64
    greatest: F64

    def joined(self, other: _Range, tensor: str) -> _Range:
        """The range of both."""
        before, now = len(self.least), len(other.least)
        if before != now:
            raise ArgumentError(
                "axis",
                f"tensor '{tensor}' has {before} channels in one sample and {now} in another; choose another",
            )
        least, greatest = np.minimum(self.least, other.least), np.maximum(self.greatest, other.greatest)
        return _Range(self.axis, least, greatest)


def _runs(
    opened: Opened, runner: PairRunner, visit: Callable[[str, Array, Array], T], data_num: int | None
) -> Iterator[dict[str, T]]:
    """What `visit` makes of each tensor, sample by sample."""
    with opened.progress.task("channels", None) as task:
        run = functools.partial(runner.run, visit=visit)
        for found in ordered_map(run, opened.samples(data_num, SAMPLES), cores(), runner.stop):
            yield {tensor: made for (_, tensor), made in found.items()}
            task.advance()


def _activation_axis(node: Node) -> int:
    """Where nodes of this op have the channels of what they read."""
    return -1 if node.op in ("MatMul", "Gemm") else 1


def _weight(graph: Graph, reading: Reading, axis: int | None, tensor: str) -> tuple[int, Spread]:
    node = graph.node(reading.node)
    value = node.input(reading.index)
    assert value is not None
    constant = unquantized(value).constant
    assert constant is not None
    array = constant.array
    chosen = _weight_axis(node, array.ndim) if axis is None else axis
    place = checked_axis(array.shape, chosen, tensor)
    return place, exact_spread(array, place, tensor)


def _weight_axis(node: Node, rank: int) -> int:
    """The axis of the output channels of a weight; those of a grouped ConvTranspose within a group."""
    if node.op == "ConvTranspose":
        return 1
    if node.op == "Gemm":
        return 0 if node.attributes.get("transB", 0) else rank - 1
    return rank - 1 if node.op == "MatMul" else 0
