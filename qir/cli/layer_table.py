"""The table of layers: how many of each op run in integers, and which stay in float for what reason."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from qir.report import LayerReport

_LISTED = 20
"""Float layers listed one by one; more are counted."""


def layer_table(layers: Sequence[LayerReport]) -> Table:
    """Integer layers by op, then float layers with the reason, the largest first."""
    table = Table(title="layers", title_justify="left")
    for heading in ("layer", "op", "precision", "MACs", "why"):
        table.add_column(heading, justify="right" if heading == "MACs" else "left", overflow="fold")
    total = sum(layer.macs or 0 for layer in layers)
    integer = [layer for layer in layers if layer.is_quantized]
    for op in dict.fromkeys(layer.op for layer in integer):
        same = [layer for layer in integer if layer.op == op]
        kinds = ", ".join(dict.fromkeys(layer.precision for layer in same))
        why = "; ".join(dict.fromkeys(layer.reason for layer in same if layer.reason))
        table.add_row(f"{len(same)} layers", op, kinds, _share(same, total), why)
    floats = sorted((x for x in layers if not x.is_quantized), key=lambda x: -(x.macs or 0))
    for layer in floats[:_LISTED]:
        table.add_row(layer.name, layer.op, layer.precision, _share([layer], total), layer.reason)
    if len(floats) > _LISTED:
        rest = floats[_LISTED:]
        table.add_row(f"{len(rest)} more layers", "", "float32", _share(rest, total), "")
    return table


def _share(layers: Sequence[LayerReport], total: int) -> str:
    if any(layer.macs is None for layer in layers):
        return "?"
    return f"{100 * sum(layer.macs or 0 for layer in layers) / total:.1f} %" if total else "-"
