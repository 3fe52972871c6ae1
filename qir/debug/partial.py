"""Which nodes to raise: the model with the worst of them in float, one more at a time."""

from __future__ import annotations

import os

from qir.config.open import ConfigSource
from qir.debug.files import FilePath, prepare, write_table
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.plots.curves import partial_plot
from qir.debug.selection import Item, Nodes, items_of
from qir.debug.tables import PartialRow, PartialTable
from qir.ir.errors import ArgumentError
from qir.runtime.data import DataSource
from qir.runtime.group_effects import Group, group_effects
from qir.runtime.metrics import CosineSimilarity
from qir.runtime.switches import all_readings

SAMPLES = 1
"""Samples by default: every node costs a run of the whole model."""
_FEW = 5
"""So many nodes are analysed when none is below the threshold."""


def sensitivity_analysis(
    model: DebugModel,
    calibrated_data: DataSource | None,
    pick_threshold: float = 0.999,
    data_num: int = SAMPLES,
    sensitive_nodes: Nodes | None = None,
    save_dir: FilePath | None = None,
    *,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> PartialTable:
    """For nodes worst first: the cosine similarity with only that node quantized, and with this and all
    nodes above it in float while the rest is quantized.

    Where the second saturates is the smallest set to raise.

    The nodes are those below `pick_threshold` when quantized alone (the 5 worst when none is), or
    `sensitive_nodes` in the order given (an inner list is taken together). `data_num`: the first so many
    samples. `save_dir`: write partial.csv, .json and .png there. `model` and `config` as in
    `get_sensitivity_of_nodes`.

    Raises a QirError that says what to do.
    """
    if save_dir is not None:
        prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    table = partial_table(opened, pick_threshold, data_num, sensitive_nodes)
    if save_dir is not None:
        write_table(table, os.fspath(save_dir), partial_plot if plot else None)
    return table


def partial_table(
    opened: Opened,
    pick_threshold: float = 0.999,
    data_num: int | None = SAMPLES,
    sensitive_nodes: Nodes | None = None,
) -> PartialTable:
    """The table of `sensitivity_analysis`, which explains the arguments."""
    if not -1 <= pick_threshold <= 1:
        raise ArgumentError("pick_threshold", f"a cosine is expected, from -1 to 1, not {pick_threshold}")
    metric = CosineSimilarity()
    samples = opened.samples(data_num, SAMPLES)
    items = items_of(opened.graph, opened.switchables, "node", sensitive_nodes, "sensitive_nodes")

    def scores(groups: list[Group]) -> list[float]:
        found = group_effects(opened.graph, groups, samples, (metric,), opened.progress)
        return [means[0] for means in found]

    alone = scores([Group(item.label, item.op, item.choice) for item in items])
    picked, ranked = _pick(items, alone, pick_threshold, is_given=sensitive_nodes is not None)
    left = all_readings(opened.switchables.values())
    groups = [Group("the model", "all nodes", left)]
    for item, _ in ranked:
        left -= item.choice
        groups.append(Group(item.label, item.op, left))
    whole, *without = scores(groups)
    rows = [
        PartialRow(item.label, item.op, score, rest)
        for (item, score), rest in zip(ranked, without, strict=True)
    ]
    return PartialTable(opened.name, metric, samples.count, pick_threshold, picked, whole, tuple(rows))


def _pick(
    items: list[Item], scores: list[float], threshold: float, *, is_given: bool
) -> tuple[str, list[tuple[Item, float]]]:
    """How the nodes were chosen, and they with their scores."""
    both = list(zip(items, scores, strict=True))
    if is_given:
        return "given", both
    ranked = sorted(both, key=lambda pair: pair[1])  # stable: equal scores in running order
    below = [pair for pair in ranked if pair[1] < threshold]
    return ("threshold", below) if below else ("worst", ranked[:_FEW])
