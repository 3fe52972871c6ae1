"""The work of `qir compare --benchmark`: time both models, and print a table by kernel."""

from __future__ import annotations

from rich.table import Table

from qir.benchmarking import Benchmark, benchmark
from qir.cli.inputs import data_source
from qir.cli.layer_table import print_line
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.console import plain_console


def run_job(reference: ModelPath, candidate: ModelPath, data: str | None, samples: int) -> None:
    """Print the times; nothing is compared but these."""
    source = data_source(reference, data)
    with RichProgress() as progress:
        found = benchmark(reference, candidate, source, samples=samples, progress=progress)
    console = plain_console()
    console.print(_table(found))
    print_line(console, _verdict(found))
    for note in found.notes:
        print_line(console, f"note: {note}")


def _table(found: Benchmark) -> Table:
    table = Table()
    for heading in ("kernel", "A: number", "ms", "B: number", "ms"):
        table.add_column(heading, justify="left" if heading == "kernel" else "right")
    both = (found.reference, found.candidate)
    sides = [side.by_op() for side in both]
    costliest = {op: max(side[op][1] for side in sides if op in side) for side in sides for op in side}
    for op in sorted(costliest, key=lambda op: -costliest[op]):
        table.add_row(op, *(cell for side in sides for cell in _cells(*side.get(op, (0, 0.0)))))
    table.add_row("whole model", *(cell for x in both for cell in _cells(len(x.kernels), x.seconds)))
    return table


def _cells(count: int, seconds: float) -> tuple[str, str]:
    return (str(count), f"{1e3 * seconds:.3f}") if count else ("", "")


def _verdict(found: Benchmark) -> str:
    return (
        f"B takes {found.ratio:.2f} times as long as A on this machine, one sample at a time "
        f"({found.samples} samples, median)"
    )
