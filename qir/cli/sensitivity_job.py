"""The work of `qir sensitivity`: measure with a progress bar, print the worst layers, write the files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from rich.table import Table

from qir.backends.files import check_prefix
from qir.cli.inputs import data_source
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.console import plain_console
from qir.ir.atomic import written_aside
from qir.runtime.metrics import metric_named
from qir.sensitivity_plot import check_plots, plot_sensitivity
from qir.sensitivity_report import SensitivityReport, score_text, sensitivity


@dataclass(frozen=True)
class SensitivityJob:
    """What one call of `qir sensitivity` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    data: str | None
    stats: str | None
    metric: str
    mode: str
    samples: int | None
    output: str | None
    plot: bool
    top: int
    target: str
    pipeline: str
    method: str
    skip: tuple[str, ...]
    config: str | None
    quiet: bool


def run_job(job: SensitivityJob) -> None:
    """Measure, write the files, then print a table to stdout (nothing with `quiet`)."""
    metric_named(job.metric)
    data = data_source(job.model, job.data)
    if job.output is not None:
        check_prefix(job.output)
        if job.plot:
            check_plots()
    with RichProgress(quiet=job.quiet) as progress:
        report = sensitivity(
            job.model,
            data,
            metric=job.metric,
            samples=job.samples,
            mode=cast("Literal['layer', 'model']", job.mode),
            statistics=job.stats,
            target=job.target,
            pipeline=job.pipeline,
            method=job.method,
            skip=job.skip,
            config=job.config,
            progress=progress,
        )
    written = [] if job.output is None else write_files(report, job.output, plot=job.plot)
    if not job.quiet:
        _print(report, job.top, written)


def write_files(report: SensitivityReport, prefix: str, *, plot: bool) -> list[Path]:
    """Write `PREFIX_sensitivity.csv`, `.json` and, with `plot`, `.png`; none of them half-written."""
    contents = {"csv": report.to_csv().encode(), "json": report.to_json().encode()}
    if plot:
        contents["png"] = plot_sensitivity(report)
    start = prefix if not prefix or prefix.endswith("/") else f"{prefix}_"
    paths = {kind: Path(f"{start}sensitivity.{kind}") for kind in contents}
    paths["csv"].parent.mkdir(exist_ok=True)
    with ExitStack() as files:
        for kind, content in contents.items():
            files.enter_context(written_aside(paths[kind])).write(content)
    return list(paths.values())


def _print(report: SensitivityReport, top: int, written: list[Path]) -> None:
    console = plain_console()
    console.print(_table(report, top))
    if len(report.layers) > top:
        console.print(f"and {len(report.layers) - top} less sensitive layers")
    what = "the layer's own output" if report.mode == "layer" else "the model's outputs, the worst of them"
    worse = "less" if report.metric.low_is_worse else "more"
    console.print(
        f"{len(report.layers)} layers, {report.samples} samples; {report.metric.name} of {what}; "
        f"{worse} is worse"
    )
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)


def _table(report: SensitivityReport, top: int) -> Table:
    table = Table()
    for heading in ("", "layer", "op", report.metric.name, "MACs"):
        table.add_column(heading, justify="left" if heading in ("layer", "op") else "right", overflow="fold")
    for rank, item in enumerate(report.layers[:top], 1):
        share = "?" if item.mac_share is None else f"{100 * item.mac_share:.1f} %"
        table.add_row(str(rank), item.layer, item.op, score_text(report.metric, item.score), share)
    return table
