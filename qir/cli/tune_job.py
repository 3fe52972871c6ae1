"""The work of `qir tune`: go through the phases, tell each step, and show the table of phases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from qir.cli.check_job import LISTED, finding_lines
from qir.cli.inputs import data_source
from qir.cli.layer_table import print_layers, print_line
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.cli.proof_lines import proof_lines
from qir.cli.search_text import (
    change_lines,
    evaluation_line,
    metric_text,
    print_errors,
    source_text,
    telling,
)
from qir.config.levels.reader import read_levels
from qir.console import plain_console
from qir.report.document import report_path
from qir.report.page import write_page
from qir.search.steps import Step
from qir.search.tuning.driver import tune
from qir.search.tuning.result import Phase, TuneResult, described

_HEADINGS = ("phase", "layers", "metric", "loss", "met", "raised", "models")


@dataclass(frozen=True)
class TuneJob:
    """What one call of `qir tune` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    data: str | None
    statistics: str | None
    evaluator: str
    max_drop: float | None
    at_least: float | None
    higher_is_better: bool
    relative: bool
    output: str
    ladder: tuple[str, ...]
    strategy: str
    sensitivity: str
    sensitivity_mode: str
    max_evaluations: int | None
    max_time: float | None
    keep_best: bool
    restart: bool
    target: str
    pipeline: str
    quant_config: str | None
    method: str | None
    skip: tuple[str, ...]
    form: str | None
    proof_samples: int
    compare_layers: bool
    quiet: bool


def run_job(job: TuneJob) -> bool:
    """Tune, print what came out to stdout, and say whether a mixture keeps the accuracy."""
    taken = ("model", "data", "evaluator", "quant_config", "quiet")
    options = {f.name: getattr(job, f.name) for f in fields(job) if f.name not in taken}
    if job.quant_config is not None:
        read_levels(Path(job.quant_config))  # says more of a file that is none than what opens any form
    data = data_source(job.model, job.data)
    with RichProgress(quiet=job.quiet) as progress:
        result = tune(
            job.model, data, job.evaluator, config=job.quant_config, progress=progress,
            listener=telling(progress, step_line, job.quiet), **options,
        )  # fmt: skip
    page = write_page(job.output) if job.compare_layers else None
    if not job.quiet:
        console = plain_console()
        _print_result(console, result)
        print_line(console, progress.cost())
        for path in _written(result, report_path(job.output), page):
            console.print(f"wrote {path}", soft_wrap=True)
    if not result.reached:
        print_errors(failure_lines(result))
    return result.reached


def step_line(step: Step) -> str:
    """What is shown of a step when it is done."""
    satisfied, loss = step.metric_eval
    where, metric = source_text(step), f"metric {metric_text(step.metric)}"
    if step.configuration is None:
        return f"step {step.number}: original model, {metric} ({where})"
    verdict = "keeps the accuracy" if satisfied else "loses too much"
    what = described(step.configuration, step.total)
    return f"step {step.number}: {what}, {metric}, loss {loss:.6g}: {verdict} ({where})"


def _print_result(console: Console, result: TuneResult) -> None:
    found = result.search
    for line in change_lines(found):
        print_line(console, line)
    if found.layers:
        print_layers(console, found.layers)
    console.print(phase_table(result))
    for line in (
        *_notes(result),
        *_summary(result),
        *finding_lines(found.findings, LISTED),
        *proof_lines(found.proof),
    ):
        print_line(console, line)


def _written(result: TuneResult, report: Path, page: Path | None) -> Iterator[Path]:
    """The files of the model, if there is one, of its configuration, and the report."""
    yield from () if result.search.paths is None else result.search.paths.written
    yield from filter(None, (result.config_path, result.resolved_path, report, page))


def phase_table(result: TuneResult) -> Table:
    """The phases, one a row."""
    table = Table()
    for heading in _HEADINGS:
        justify: Literal["left", "right"] = "left" if heading in ("phase", "layers", "met") else "right"
        table.add_column(heading, justify=justify, no_wrap=heading == "phase")
    for phase in result.phases:
        table.add_row(*_cells(phase, result))
    return table


def _cells(phase: Phase, result: TuneResult) -> tuple[str, ...]:
    step, best = phase.step, result.search.best
    if step is None:
        return phase.name, "", "", "", "", "", str(phase.evaluated)
    is_best = best is not None and step.number == best.number
    mark = "" if not is_best else " <- best" if result.reached else " <- nearest"
    raised = "" if phase.raised is None else f"{phase.raised} of {step.total}"
    return (
        phase.name, described(step.configuration, step.total), metric_text(step.metric),
        f"{step.metric_eval[1]:.3g}", ("yes" if phase.met else "no") + mark, raised, str(phase.evaluated),
    )  # fmt: skip


def _notes(result: TuneResult) -> Iterator[str]:
    """What is to be said of phases, equal notes in one line."""
    for note in dict.fromkeys(phase.note for phase in result.phases if phase.note):
        names = ", ".join(phase.name for phase in result.phases if phase.note == note)
        yield f"{names}: {note}"


def _summary(result: TuneResult) -> Iterator[str]:
    found = result.search
    yield evaluation_line(found)
    if found.limited:
        yield "a limit ended the search before its end; run it again without the limit to go on"
    if result.reached and found.best is not None:
        yield (
            f"{found.best.floats} of {found.best.total} layers are raised: "
            f"{described(found.best.configuration, found.best.total)}"
        )


def failure_lines(result: TuneResult) -> Iterator[str]:
    """Why there is no model, and what came nearest."""
    found, best = result.search, result.search.best
    if found.outcome == "stopped":
        yield "error: the limit came before any mixture kept the accuracy; no model was written"
    else:
        yield "error: no mixture of precisions keeps the accuracy; the target may be too difficult to reach"
    if best is not None:
        yield (
            f"nearest: metric {metric_text(best.metric)}, loss {best.metric_eval[1]:.6g}, with "
            f"{described(best.configuration, best.total)}"
            + (" (written as asked by --keep-best)" if found.paths else "; --keep-best would write it")
        )
