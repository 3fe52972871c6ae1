"""The table of layers: how many of each op run in integers, and which stay in float for what reason."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from qir.report import LayerReport

_LISTED = 5
"""Layers named for each reason to stay in float; more are counted."""


def print_layers(console: Console, layers: Sequence[LayerReport]) -> None:
    """Layers counted by op and precision; below, why some stay in float, the largest first."""
    total = sum(layer.macs or 0 for layer in layers)
    console.print(_counts(layers, total))
    for same in _with_one_reason(layers):
        first = same[0]
        where = f"in {first.precision}, {_share(same, total)} of the MACs"
        print_line(console, f"{len(same)} {first.op} {where}: {first.reason}")
        for layer in same[:_LISTED]:
            console.print(f"    {layer.name}", soft_wrap=True)  # in one piece, to be copied
        if len(same) > _LISTED:
            console.print(f"    and {len(same) - _LISTED} more")


def print_line(console: Console, line: str) -> None:
    """Print a sentence, wrapped between words for people; programs get one line."""
    console.print(line, soft_wrap=not console.is_terminal)


def _counts(layers: Sequence[LayerReport], total: int) -> Table:
    table = Table()
    for heading in ("layers", "op", "precision", "MACs"):
        table.add_column(heading, justify="right" if heading in ("layers", "MACs") else "left")
    kinds = [(layer.is_quantized, layer.op, layer.precision) for layer in layers]
    for kind in sorted(dict.fromkeys(kinds), key=lambda kind: not kind[0]):
        same = [layer for layer, own in zip(layers, kinds, strict=True) if own == kind]
        table.add_row(str(len(same)), kind[1], kind[2], _share(same, total))
    return table


def _with_one_reason(layers: Sequence[LayerReport]) -> list[list[LayerReport]]:
    """The layers that something is to be said of, by op and reason."""
    groups: dict[tuple[str, str], list[LayerReport]] = {}
    for layer in layers:
        if layer.reason:
            groups.setdefault((layer.op, layer.reason), []).append(layer)
    return sorted(groups.values(), key=lambda same: -sum(layer.macs or 0 for layer in same))


def _share(layers: Sequence[LayerReport], total: int) -> str:
    if any(layer.macs is None for layer in layers):
        return "?"
    return f"{100 * sum(layer.macs or 0 for layer in layers) / total:.1f} %" if total else "-"
