"""How the error of quantization grows along the graph, for variants of what is quantized."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from qir.config.open import ConfigSource
from qir.debug.files import FilePath, prepare, write_table
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.plots.curves import error_plot
from qir.debug.selection import Nodes, groups_of, metrics_named, node_named
from qir.debug.tables import ErrorCurve, ErrorTable, GraphNode
from qir.ir.graph import Graph
from qir.ir.quants import is_quant
from qir.ir.types import TensorType
from qir.runtime.along import scores_along
from qir.runtime.data import DataSource
from qir.runtime.metrics import Metric
from qir.runtime.switches import Choice, Operands, all_readings

SAMPLES = 8
"""Samples by default."""
_KINDS: dict[str, Operands] = {"weight": "weight", "activation": "activation"}
"""Words that stand for all weights, and for all activations."""


@dataclass(frozen=True)
class _Variant:
    label: str
    nodes: tuple[str, ...]
    operands: Operands
    choice: Choice


def plot_acc_error(
    save_dir: FilePath,
    calibrated_data: DataSource | None,
    model: DebugModel,
    quantize_node: Nodes | None = None,
    non_quantize_node: Nodes | None = None,
    metric: str | Metric = "cosine-similarity",
    average_mode: bool = False,
    *,
    data_num: int | None = None,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> ErrorTable:
    """The error of every node's result along the graph, one curve per variant: error.csv, .json and .png.

    `quantize_node`: a curve for each entry, with only that quantized; an entry is "weight" (all weights),
    "activation" (all activations), a node, or a list of nodes. `non_quantize_node`: the same with all but
    that quantized. Without either: everything, the weights, the activations. A point is the mean of `metric`
    over the first `data_num` samples (None: 8, or fewer); with `average_mode` the mean over all nodes up to
    there. `model` and `config` as in `get_sensitivity_of_nodes`.

    Raises a QirError that says what to do.
    """
    prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    table = error_table(opened, quantize_node, non_quantize_node, metric, average_mode, data_num)
    write_table(table, os.fspath(save_dir), error_plot if plot else None)
    return table


def error_table(
    opened: Opened,
    quantize_node: Nodes | None = None,
    non_quantize_node: Nodes | None = None,
    metric: str | Metric = "cosine-similarity",
    average_mode: bool = False,
    data_num: int | None = None,
) -> ErrorTable:
    """The table of `plot_acc_error`, which explains the arguments."""
    chosen = metrics_named(metric, "metric")[0]
    variants = _variants(opened, quantize_node, non_quantize_node)
    nodes = _nodes(opened.graph)
    values = [node.output for node in nodes]
    count, found = scores_along(
        opened.graph,
        [variant.choice for variant in variants],
        values,
        chosen,
        lambda: opened.samples(data_num, SAMPLES),
        opened.progress,
    )
    curves = []
    for variant, by_value in zip(variants, found, strict=True):
        scores = [by_value[name] for name in values]
        if average_mode:
            scores = _running_means(scores)
        curves.append(ErrorCurve(variant.label, variant.nodes, variant.operands, tuple(scores)))
    return ErrorTable(opened.name, chosen, average_mode, count, nodes, tuple(curves))


def _nodes(graph: Graph) -> tuple[GraphNode, ...]:
    """The nodes whose first result may hold floats, in running order."""
    found = []
    for node in graph.nodes:
        value = node.outputs[0] if node.outputs and not is_quant(node) else None
        if value is None or not isinstance(value.type, TensorType):
            continue
        if value.tensor.dtype is None or value.tensor.dtype.is_float:
            found.append(GraphNode(node.name, node.op, value.name))
    return tuple(found)


def _variants(opened: Opened, only: Nodes | None, without: Nodes | None) -> list[_Variant]:
    """What each curve quantizes."""
    known = opened.switchables
    if only is None and without is None:
        whole = _Variant("everything", tuple(known), "all", all_readings(known.values()))
        return [whole, *(_of_kind(opened, kind, only=True) for kind in _KINDS)]
    variants = []
    for entries, is_only in ((only, True), (without, False)):
        what = "quantize_node" if is_only else "non_quantize_node"
        for group in () if entries is None else groups_of(entries, what):
            if len(group) == 1 and group[0] in _KINDS:
                variants.append(_of_kind(opened, group[0], only=is_only))
            else:
                variants.append(_of_nodes(opened, group, what, only=is_only))
    return variants


def _of_kind(opened: Opened, kind: str, *, only: bool) -> _Variant:
    """All weights, or all activations; or all but them."""
    known = opened.switchables
    other = next(name for name in _KINDS if name != kind)
    operands = _KINDS[kind if only else other]
    label = f"{kind}s" if only else f"all but {kind}s"
    return _Variant(label, tuple(known), operands, all_readings(known.values(), operands))


def _of_nodes(opened: Opened, group: Sequence[str], what: str, *, only: bool) -> _Variant:
    """Some nodes, or all but them."""
    known = opened.switchables
    names = dict.fromkeys(node_named(opened.graph, known, name, what, _KINDS).node for name in group)
    chosen = tuple(name for name in known if (name in names) == only)
    label = " + ".join(names)
    choice = all_readings(known[name] for name in chosen)
    return _Variant(label if only else f"all but {label}", chosen, "all", choice)


def _running_means(scores: Sequence[float | None]) -> list[float | None]:
    """At each place the mean of the scores up to there; None where there is none."""
    total, count = 0.0, 0
    found: list[float | None] = []
    for score in scores:
        if score is not None:
            total, count = total + score, count + 1
        found.append(None if score is None else total / count)
    return found
