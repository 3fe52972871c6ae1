"""Which quantizers hurt: each alone switched on, and the outputs of the model compared."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qir.config.open import ConfigSource
from qir.debug.files import FilePath, prepare, write_table
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.plots.bars import sensitivity_plot
from qir.debug.selection import Item, Nodes, items_of, metrics_named
from qir.debug.tables import SensitivityRow, SensitivityTable
from qir.debug.text import print_sensitivity
from qir.ir.errors import ArgumentError
from qir.ir.graph import Graph
from qir.ir.quants import unquantized
from qir.runtime.data import DataSource
from qir.runtime.group_effects import Group, group_effects
from qir.runtime.metrics import Metric
from qir.runtime.switches import switchables

SAMPLES = 8
"""Samples by default: enough for an order."""


def get_sensitivity_of_nodes(
    model: DebugModel,
    metrics: str | Metric | Sequence[str | Metric],
    calibrated_data: DataSource | None,
    output_node: str | None = None,
    node_type: str = "node",
    data_num: int | None = None,
    verbose: bool = False,
    interested_nodes: Nodes | None = None,
    *,
    save_dir: FilePath | None = None,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> dict[str, dict[str, float]]:
    """Quantize one node alone, all else in float, and compare outputs: {node: {metric: value}}, worst first.

    `model` is a float model (a path, or anything that `qir.load` takes), which is quantized first, with
    `config` if given; a closed graph, a `.qir` file of one, what `qir.quantize` returned, or what
    `open_model` gave. `metrics` are names (cosine-similarity, sqnr, mse, mae, mre, chebyshev, kl) or
    objects; the first one orders. `output_node`: compare its result instead of the model's outputs, of which
    the worst counts. `node_type`: "node" quantizes all operands, "weight" the weights alone, "activation" a
    tensor for all nodes that read it; rows are then tensors. `data_num`: the first so many samples, which
    must be there (None: the first 8, or fewer); scores are means over them. `interested_nodes`: only these;
    an inner list is quantized together, and its label joins the names by " + ". `verbose` prints the table.
    `save_dir`: also write sensitivity_NODE_TYPE.csv, .json and .png there.

    Raises a QirError that says what to do.
    """
    if save_dir is not None:
        prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    table = sensitivity_table(opened, metrics, output_node, node_type, data_num, interested_nodes)
    if verbose:
        print_sensitivity(table)
    if save_dir is not None:
        write_table(table, os.fspath(save_dir), sensitivity_plot if plot else None)
    return table.scores


def sensitivity_table(
    opened: Opened,
    metrics: str | Metric | Sequence[str | Metric] = "cosine-similarity",
    output_node: str | None = None,
    node_type: str = "node",
    data_num: int | None = None,
    interested_nodes: Nodes | None = None,
) -> SensitivityTable:
    """The table of `get_sensitivity_of_nodes`, which explains the arguments."""
    chosen = metrics_named(metrics, "metrics")
    graph = opened.toward(output_node)
    outputs = _outputs(graph)
    if not outputs:
        what = "model" if output_node is None else f"node '{output_node}'"
        reason = f"the {what} returns no floats that could be compared; name a node that does"
        raise ArgumentError("output_node", reason)
    known = opened.switchables if interested_nodes is not None else switchables(graph)
    items = items_of(opened.graph, known, node_type, interested_nodes)
    samples = opened.samples(data_num, SAMPLES)
    groups = [Group(item.label, item.op, item.choice) for item in items]
    scores = group_effects(graph, groups, samples, chosen, opened.progress)
    rows = [_row(item, chosen, found) for item, found in zip(items, scores, strict=True)]
    sign = 1 if chosen[0].low_is_worse else -1
    rows.sort(key=lambda row: sign * row.scores[chosen[0].name])  # stable: equal scores in running order
    return SensitivityTable(opened.name, node_type, chosen, samples.count, outputs, tuple(rows))


def _row(item: Item, metrics: Sequence[Metric], scores: Sequence[float]) -> SensitivityRow:
    named = {metric.name: score for metric, score in zip(metrics, scores, strict=True)}
    return SensitivityRow(item.label, item.nodes, item.op, named, item.tensor, item.threshold, item.bits)


def _outputs(graph: Graph) -> tuple[str, ...]:
    """The outputs that hold floats, as far as their types say."""
    values = [unquantized(value) for value in graph.outputs]
    found = [v.name for v in values if v.tensor.dtype is None or v.tensor.dtype.is_float]
    return tuple(dict.fromkeys(found))
