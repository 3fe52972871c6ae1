"""The work of `qir debug`: open the model once, write the files, print the worst rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from qir.cli.debug_options import message_of, options_named
from qir.cli.inputs import data_source
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.console import plain_console
from qir.debug.channels import get_channelwise_data_distribution
from qir.debug.distribution import plot_distribution
from qir.debug.error import plot_acc_error
from qir.debug.everything import Everything, runall
from qir.debug.files import prepare, write_table
from qir.debug.opened import Opened, open_model
from qir.debug.partial import SAMPLES, sensitivity_analysis
from qir.debug.plots.bars import sensitivity_plot
from qir.debug.selection import metrics_named
from qir.debug.sensitivity import sensitivity_table
from qir.debug.tables import PartialTable, SensitivityTable
from qir.debug.text import partial_text, sensitivity_text
from qir.ir.errors import ArgumentError
from qir.sensitivity_report import score_text

_TOP = 20
_THRESHOLD = 0.999
_COSINE = "cosine-similarity"


@dataclass(frozen=True)
class Source:
    """Where the quantized model comes from: the arguments of `open_model`."""

    model: ModelPath
    data: str | None
    stats: str | None
    target: str
    pipeline: str
    method: str
    skip: tuple[str, ...]
    config: str | None


@dataclass(frozen=True)
class DebugJob:
    """What one call of `qir debug` is asked to do; the fields are its arguments and options."""

    kind: str
    source: Source
    folder: str
    samples: int | None
    metrics: tuple[str, ...]
    node_type: str
    output_node: str | None
    nodes: tuple[str, ...]
    only: tuple[str, ...]
    without: tuple[str, ...]
    average: bool
    axis: int | None
    threshold: float | None
    plot: bool
    quiet: bool


def run_job(job: DebugJob) -> None:
    """Do the work, then print what was found to stdout (nothing with `quiet`)."""
    with options_named():
        metrics_named(job.metrics or _COSINE, "metrics")
        if len(job.metrics) > 1 and job.kind == "error":
            raise ArgumentError("metric", "one curve shows one metric; give it once")
        folder, show = _run(job)
    if not job.quiet:
        console = plain_console()
        show(console)
        console.print(f"wrote {folder}", soft_wrap=True)


_Show = Callable[[Console], None]


def _run(job: DebugJob) -> tuple[Path, _Show]:
    """The folder with what was written, and what shows the results."""
    source = job.source
    data = data_source(source.model, source.data)
    folder = prepare(job.folder, plot=job.plot)
    with RichProgress(quiet=job.quiet) as progress:
        opened = open_model(
            source.model,
            data,
            statistics=source.stats,
            target=source.target,
            pipeline=source.pipeline,
            method=source.method,
            skip=source.skip,
            config=source.config,
            progress=progress,
        )
        return folder, _JOBS[job.kind](job, opened, folder)


def _sensitivity(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    table = sensitivity_table(
        opened, job.metrics or _COSINE, job.output_node, job.node_type, job.samples, _groups(job.nodes)
    )
    write_table(table, folder, sensitivity_plot if job.plot else None)
    return lambda console: _show_sensitivity(console, table)


def _error(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    metric = job.metrics[0] if job.metrics else _COSINE
    table = plot_acc_error(
        folder, None, opened, _groups(job.only), _groups(job.without), metric, job.average,
        data_num=job.samples, plot=job.plot,
    )  # fmt: skip
    count, samples = len(table.nodes), table.samples
    return lambda console: console.print(f"{len(table.curves)} curves of {count} nodes, {samples} samples")


def _distribution(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    table = plot_distribution(folder, opened, None, _single(job.nodes), data_num=job.samples, plot=job.plot)
    return lambda console: console.print(f"{len(table.nodes)} nodes, {table.samples} samples")


def _channels(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    table = get_channelwise_data_distribution(
        folder, opened, None, _single(job.nodes), job.axis, data_num=job.samples, plot=job.plot
    )
    return lambda console: console.print(f"{len(table.nodes)} nodes, {table.samples} samples")


def _partial(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    threshold = _THRESHOLD if job.threshold is None else job.threshold
    samples = SAMPLES if job.samples is None else job.samples
    nodes = _groups(job.nodes)
    table = sensitivity_analysis(opened, None, threshold, samples, nodes, folder, plot=job.plot)
    return lambda console: _show_partial(console, table)


def _all(job: DebugJob, opened: Opened, folder: Path) -> _Show:
    metric = job.metrics[0] if job.metrics else _COSINE
    threshold = _THRESHOLD if job.threshold is None else job.threshold
    found = runall(
        opened, None, folder, job.metrics or _COSINE, job.output_node, job.samples, _groups(job.nodes),
        _groups(job.only), _groups(job.without), metric, job.average, job.axis, threshold, plot=job.plot,
    )  # fmt: skip
    return lambda console: _show_all(console, found)


_JOBS: dict[str, Callable[[DebugJob, Opened, Path], _Show]] = {
    "sensitivity": _sensitivity,
    "error": _error,
    "distribution": _distribution,
    "channels": _channels,
    "partial": _partial,
    "all": _all,
}


def _groups(words: Sequence[str]) -> list[str | list[str]] | None:
    """Names as they are given on the command line: those with commas between are taken together."""
    found: list[str | list[str]] = [word.split(",") if "," in word else word for word in words]
    return found or None


def _single(words: Sequence[str]) -> list[str]:
    return [name for word in words for name in word.split(",")]


def _show_sensitivity(console: Console, table: SensitivityTable) -> None:
    console.print(sensitivity_text(table, _TOP))
    if len(table.rows) > _TOP:
        console.print(f"and {len(table.rows) - _TOP} less sensitive ones")
    worse = "less" if table.metrics[0].low_is_worse else "more"
    outputs = ", ".join(table.outputs)
    console.print(
        f"each quantized alone, {table.samples} samples, compared at {outputs}; {worse} "
        f"{table.metrics[0].name} is worse"
    )


def _show_partial(console: Console, table: PartialTable) -> None:
    console.print(partial_text(table, _TOP))
    if len(table.rows) > _TOP:
        console.print(f"and {len(table.rows) - _TOP} more")
    score = score_text(table.metric, table.all_quantized)
    console.print(f"everything quantized: {table.metric.name} {score}")
    if table.picked == "worst":
        console.print(
            f"no node is below {table.pick_threshold:g} when quantized alone; these are the worst of all"
        )
    if table.saturates_at is not None:
        console.print(f"raising {table.saturates_at} of these nodes brings nearly all that is to gain")


def _show_all(console: Console, found: Everything) -> None:
    for table in found.tables[:1]:
        _show_sensitivity(console, table)
    for step in found.steps:
        if step.error is not None:
            console.print(f"{step.kind} is missing: {message_of(step.error)}", soft_wrap=True)
