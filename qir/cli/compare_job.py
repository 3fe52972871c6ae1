"""The work of `qir compare`: run both models, print tables, and a verdict as exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.table import Table

from qir.cli.inputs import data_source
from qir.cli.layer_table import print_line
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.comparison import Comparison, LayerComparison, Tolerance, compare
from qir.console import plain_console
from qir.runtime.compare import OutputComparison

_NUMBERS = ("max difference", "cosine", "SQNR")


def run_job(
    reference: ModelPath,
    candidate: ModelPath,
    data: str | None,
    samples: int,
    tolerance: Tolerance,
    all_layers: bool,
) -> None:
    """Print what differs; exit code 1 unless the models agree within `tolerance`."""
    source = data_source(reference, data)
    with RichProgress() as progress:
        found = compare(reference, candidate, source, samples=samples, progress=progress)
    console = plain_console()
    shown = [layer for layer in found.layers if all_layers or not layer.is_equal]
    if shown:
        for line in _layer_lines(shown):
            console.print(line, soft_wrap=True)
    console.print(_output_table(found.outputs))
    for line in _summary(found):
        print_line(console, line)
    violations = tolerance.violations(found)
    for violation in violations:
        click.echo(f"error: {violation}", err=True)
    if violations:
        raise click.exceptions.Exit(1)
    console.print("the models agree within the tolerance")


def _layer_lines(layers: Sequence[LayerComparison]) -> Iterator[str]:
    """Columns of numbers; names come last, where a long one does no harm."""
    headings = ("max difference", "cosine", "SQNR", "integers read", "sums", "layer")
    rows = [
        (*_numbers(x.result), _differing(x.integers), _differing(x.sums), f"{x.name} ({x.op})")
        for x in layers
    ]
    numbers = [column for column in zip(headings, *rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in numbers[:-1]]
    for row in zip(*numbers, strict=True):
        yield "  ".join((*map(str.rjust, row, widths), row[-1]))


def _output_table(outputs: Sequence[OutputComparison]) -> Table:
    table = Table()
    for heading in ("output", *_NUMBERS):
        table.add_column(heading, justify="left" if heading == "output" else "right", overflow="fold")
    for output in outputs:
        table.add_row(output.name, *_numbers(output))
    return table


def _numbers(found: OutputComparison) -> tuple[str, str, str]:
    return f"{found.max_abs:.4g}", f"{found.cosine:.6f}", f"{found.sqnr:.1f} dB"


def _differing(found: OutputComparison | None) -> str:
    """How many integers of a layer differ."""
    if found is None:
        return ""
    return f"{found.different} of {found.count}" if found.different else "equal"


def _summary(found: Comparison) -> list[str]:
    lines = []
    for names, which in ((found.only_reference, "A"), (found.only_candidate, "B")):
        if names:
            more = "" if len(names) <= 5 else f" and {len(names) - 5} more"
            lines.append(f"only {which} has {', '.join(names[:5])}{more}")
    first = found.first_difference
    equal = sum(layer.is_equal for layer in found.layers)
    lines.append(f"{equal} of {len(found.layers)} common layers are equal to the bit")
    if first is not None:
        lines.append(f"the first layer that differs is '{first.name}' ({first.op})")
    if any(layer.sums is not None or layer.integers is not None for layer in found.layers):
        lines.append(f"{found.mismatches} integers differ")
    return lines
