"""The work of `qir-opt`: read graphs, run a pipeline over each with instruments, lower, write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from qir.backends.targets import Target, target_named
from qir.cli.inputs import read_graphs, sample_of
from qir.cli.model_argument import ModelPath
from qir.cli.outputs import Emit, check_output, lowered, output_format, write_graphs
from qir.cli.progress import RichProgress
from qir.ir.graph import Graph
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments import Instrument, PrintIr, Reproducer, RewriteStatistics, Timing, VerifyEach
from qir.passes.instruments.print_ir import When
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.runtime.data import open_data


@dataclass(frozen=True)
class Job:
    """What one call of `qir-opt` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    pipeline: str = ""
    output: str = "-"
    data: str | None = None
    target: str = "ascend"
    emit: Emit | None = None
    print_ir: When | None = None
    verify_each: bool = False
    timing: bool = False
    stats: bool = False
    reproducer: Path | None = None
    split_input: bool = False


def run_job(job: Job) -> None:
    """Do the job. What can be refused without reading the model is refused first; output comes last."""
    target = target_named(job.target)
    passes = parse_pipeline(job.pipeline, named=target.pipelines)
    form = output_format(job.output, job.emit, job.split_input)
    check_output(job.output, job.model, job.data)
    graphs = read_graphs(job.model, job.split_input)
    for graph in graphs:
        _optimize(graph, job, target, passes)
    write_graphs([lowered(graph, job.emit, target.form(None)) for graph in graphs], job.output, form)


def _optimize(graph: Graph, job: Job, target: Target, passes: Sequence[Pass]) -> None:
    """Run the passes on a graph, verified before and after; reports go to stderr also when one fails."""
    verify(graph)
    timing, statistics = Timing(), RewriteStatistics()
    reproducer = None if job.reproducer is None else Reproducer(job.reproducer, _reproducer_arguments(job))
    instruments: list[Instrument] = [] if reproducer is None else [reproducer]
    if job.print_ir is not None:
        instruments.append(PrintIr(job.print_ir, sys.stderr))
    if job.verify_each:
        instruments.append(VerifyEach())
    source = _data_source(job)
    data = None if source is None else open_data(source, graph)
    try:
        with RichProgress(quiet=job.print_ir is not None) as progress:
            context = Context(data=data, rules=target.rules, progress=progress)
            PassManager(passes, [*instruments, statistics, timing]).run(graph, context)
        verify(graph)
    finally:
        if job.timing:
            click.echo(timing.report(), err=True, nl=False)
        if job.stats:
            click.echo(statistics.report(), err=True, nl=False)
        for path in reproducer.paths if reproducer else ():
            click.echo(f"the graph before the pass that failed is in {path}", err=True)


def _data_source(job: Job) -> str | None:
    """Where calibration data come from; a packaged sample brings its own."""
    sample = sample_of(job.model)
    return job.data if job.data is not None or sample is None else str(sample.calibration)


def _reproducer_arguments(job: Job) -> tuple[str, ...]:
    """What else than the pass must be on the command line that fails again."""
    arguments = ("--verify-each",) if job.verify_each else ()
    source = _data_source(job)
    data = () if source is None else ("--data", source)
    return (*arguments, *data, *(() if job.target == "ascend" else ("--target", job.target)))
