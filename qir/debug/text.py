"""Tables of the debug functions for a terminal."""

from __future__ import annotations

from rich.table import Table

from qir.console import plain_console
from qir.debug.tables import PartialTable, SensitivityTable
from qir.sensitivity_report import score_text


def print_sensitivity(table: SensitivityTable) -> None:
    """Print all rows to stdout: what `verbose` asks for."""
    plain_console().print(sensitivity_text(table))


def sensitivity_text(table: SensitivityTable, top: int | None = None) -> Table:
    """The worst rows: node, metrics, of activations threshold and bits."""
    is_activation = table.node_type == "activation"
    text = Table()
    text.add_column("", justify="right")
    text.add_column("tensor" if is_activation else "node", overflow="fold")
    text.add_column("made by" if is_activation else "op")
    for metric in table.metrics:
        text.add_column(metric.name, justify="right")
    for heading in ("threshold", "bits") if is_activation else ():
        text.add_column(heading, justify="right")
    for rank, row in enumerate(table.rows[:top], 1):
        cells = [score_text(metric, row.scores[metric.name]) for metric in table.metrics]
        if is_activation:
            threshold = "" if row.threshold is None else f"{row.threshold:.4g}"
            cells += [threshold, "" if row.bits is None else str(row.bits)]
        text.add_row(str(rank), row.node, row.op, *cells)
    return text


def partial_text(table: PartialTable, top: int | None = None) -> Table:
    """The rows, up to the place where the second curve saturates and some more."""
    text = Table()
    for heading in ("", "node", "op", "alone quantized", "with all above in float"):
        text.add_column(heading, justify="left" if heading in ("node", "op") else "right", overflow="fold")
    for rank, row in enumerate(table.rows[:top], 1):
        scores = [score_text(table.metric, score) for score in (row.alone, row.without)]
        text.add_row(str(rank), row.node, row.op, *scores)
    return text
