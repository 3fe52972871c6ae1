"""Configurations of commands: which file was given, and the resolved table on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from qir.config.levels.file import Levels
from qir.config.levels.reader import read_levels
from qir.config.table import Row

_HEADINGS = ("node", "operand", "requested", "granted", "reason")


def chosen_config(config: str | None, quant_config: str | None) -> str | Levels | None:
    """What `--config` or `--quant-config` gives; UsageError when both are there."""
    if config is not None and quant_config is not None:
        raise click.UsageError("--config and --quant-config exclude each other: give one of them")
    return config if quant_config is None else read_levels(Path(quant_config))


def print_rows(console: Console, rows: Sequence[Row]) -> None:
    """The resolved table: for people as a table, for programs one line an operand, parted by tabs."""
    if not console.is_terminal:
        for cells in (_HEADINGS, *(tuple(row.fields().values()) for row in rows)):
            click.echo("\t".join(cells))  # the console would make spaces of tabs
        return
    table = Table()
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row.fields().values())
    console.print(table)
