"""The work of `qir calibrate`: take statistics with a progress bar, write them, print what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from qir.calibration import calibrate
from qir.cli.inputs import data_source
from qir.cli.layer_table import print_line
from qir.cli.model_argument import ModelPath
from qir.cli.outputs import check_output
from qir.cli.progress import RichProgress
from qir.console import plain_console
from qir.ir.errors import ConfigError
from qir.runtime.statistics_file import Statistics

_LISTED = 10
"""Tensors with the widest ranges that the table shows."""


@dataclass(frozen=True)
class CalibrateJob:
    """What one call of `qir calibrate` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    data: str | None
    output: str
    target: str
    pipeline: str
    skip: tuple[str, ...]
    workers: int | None
    dask: str | None
    quiet: bool


def run_job(job: CalibrateJob) -> None:
    """Calibrate and write, then print a table to stdout (nothing with `quiet`)."""
    data = data_source(job.model, job.data)
    if Path(job.output).suffix != ".npz":
        raise ConfigError(f"'{job.output}' must end in .npz")
    check_output(job.output, job.model, data)
    with RichProgress(quiet=job.quiet) as progress:
        statistics = calibrate(
            job.model,
            data,
            target=job.target,
            pipeline=job.pipeline,
            skip=job.skip,
            workers=job.workers,
            dask=job.dask,
            progress=progress,
        )
    statistics.save(job.output)
    if not job.quiet:
        elsewhere = job.workers is not None or job.dask is not None
        _print(statistics, progress.cost() + (" without the workers" if elsewhere else ""), job.output)


def _print(statistics: Statistics, cost: str, output: str) -> None:
    console = plain_console()
    widest = sorted(statistics, key=lambda name: -_magnitude(statistics, name))[:_LISTED]
    console.print(_table(statistics, [name for name in statistics if name in widest]))
    more = len(statistics) - len(widest)
    if more:
        console.print(f"and {more} more tensors, of smaller magnitude")
    for name, problem in statistics.problems.items():
        print_line(console, f"note: no statistics of '{name}': {problem}")
    console.print(f"{len(statistics)} tensors, {statistics.origin.units} samples")
    print_line(console, cost)
    console.print(f"wrote {output} ({Path(output).stat().st_size / 1e6:.2f} MB)", soft_wrap=True)


def _magnitude(statistics: Statistics, name: str) -> float:
    tensor = statistics[name]
    return max(-tensor.minimum, tensor.maximum) if tensor.count else 0.0


def _table(statistics: Statistics, names: list[str]) -> Table:
    table = Table()
    for heading in ("tensor", "values", "minimum", "maximum"):
        table.add_column(heading, justify="left" if heading == "tensor" else "right", overflow="fold")
    for name in names:
        tensor = statistics[name]
        limits = (f"{tensor.minimum:.4g}", f"{tensor.maximum:.4g}") if tensor.count else ("-", "-")
        table.add_row(name, str(tensor.count), *limits)
    return table
