"""The table at the end of a conversion: each layer with its scale, and how near it is to the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from qir.ir.graph import Graph
from qir.ir.quants import quant_of
from qir.report import LayerReport
from qir.report.entries import output_precision, range_of
from qir.report.similarity import LayerSimilarity
from qir.runtime.compare import OutputComparison

_HEADINGS = ("layer", "op", "in", "out", "scale", "all", "alone")
_WORDS = 4
"""Columns of words; numbers follow."""


def print_similarity(
    console: Console, layers: Sequence[LayerReport], graph: Graph, similarity: LayerSimilarity
) -> None:
    """Print a row for each layer, in running order."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # leaves room for names
    for place, heading in enumerate(_HEADINGS):
        justify: Literal["left", "right"] = "left" if place < _WORDS else "right"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=place > 0)
    for layer in layers:
        table.add_row(*_row(layer, graph, similarity))
    console.print(table)
    samples = f"{similarity.samples} sample{'s' if similarity.samples != 1 else ''}"
    console.print(
        "cosine similarity with the float model, everything quantized (all, cumulative) or this layer alone "
        f"(alone, isolated), on {samples}",
        soft_wrap=not console.is_terminal,
    )


def _row(layer: LayerReport, graph: Graph, similarity: LayerSimilarity) -> tuple[str, ...]:
    span = output = None
    if graph.has_node(layer.name):
        node = graph.node(layer.name)
        span, output = range_of(quant_of(node.input(0))), output_precision(node)
    scale = "-" if span is None else f"{span[0]:.4g}"
    found = (_cosine(similarity.cumulative, layer.name), _cosine(similarity.isolated, layer.name))
    return layer.name, layer.op, layer.precision, output or "-", scale, *found


def _cosine(found: Mapping[str, OutputComparison], layer: str) -> str:
    return f"{found[layer].cosine:.6f}" if layer in found else "-"
