"""The work of `qir config`: read the model, make the configuration, write it whole or print it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from qir.backends.targets import target_named
from qir.cli.config_table import print_rows
from qir.cli.model_argument import ModelPath
from qir.cli.outputs import STANDARD_STREAM, check_output
from qir.config.amct.convert import quant_config
from qir.config.levels.reader import read_levels
from qir.config.open import create_quant_config
from qir.config.resolved_file import check_not_config, write_resolved
from qir.config.run import configured_pipeline, resolved_rows
from qir.console import plain_console
from qir.ir.atomic import written_aside
from qir.models import load
from qir.passes.pipeline import parse_pipeline, print_pipeline


@dataclass(frozen=True)
class ConfigJob:
    """What one call of `qir config` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    output: str | None
    skip: tuple[str, ...]
    batch_num: int
    cfg: str | None
    symmetric: bool
    target: str
    pipeline: str
    as_pipeline: bool


def run_job(job: ConfigJob) -> None:
    """Write the file, or print it (and nothing else) to stdout."""
    output = job.output or STANDARD_STREAM
    check_output(output, job.model)
    graph = load(job.model)
    made = create_quant_config(
        graph, job.skip, job.batch_num, not job.symmetric, job.cfg, target=job.target, pipeline=job.pipeline
    )
    text = made.text()
    if job.as_pipeline:
        target = target_named(job.target)
        base = parse_pipeline(job.pipeline, named=target.pipelines)
        text = print_pipeline(configured_pipeline(graph, quant_config(made), target, base))
    _write(text, output)


@dataclass(frozen=True)
class ResolveJob:
    """What `qir config --quant-config` is asked to do."""

    model: ModelPath
    quant_config: str
    output: str | None
    target: str
    pipeline: str
    as_pipeline: bool


def resolve_job(job: ResolveJob) -> None:
    """Print the resolved table, or the passes; with an output, write them, the table as JSON."""
    output = job.output or STANDARD_STREAM
    check_output(output, job.model)
    levels = read_levels(Path(job.quant_config))
    if output != STANDARD_STREAM:
        check_not_config(Path(output), job.quant_config)
    graph, target = load(job.model), target_named(job.target)
    base = parse_pipeline(job.pipeline, named=target.pipelines)
    if job.as_pipeline:
        _write(print_pipeline(configured_pipeline(graph, levels, target, base)), output)
        return
    rows = resolved_rows(graph, levels, target, base)
    if output == STANDARD_STREAM:
        print_rows(plain_console(), rows)
    else:
        write_resolved(levels, rows, Path(output))


def _write(text: str, output: str) -> None:
    if output == STANDARD_STREAM:
        click.echo(text)
        return
    with written_aside(Path(output)) as file:
        file.write(text.encode())
