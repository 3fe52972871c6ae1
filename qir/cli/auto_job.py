"""The work of `qir auto`: run the search, tell each step as it is made, and sum up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

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
from qir.console import plain_console
from qir.report.document import report_path
from qir.report.page import write_page
from qir.search.driver import auto_quantize
from qir.search.rungs import RUNGS
from qir.search.steps import SearchResult, Step

_COSTLY = 5
"""Layers named as those that cost most."""


@dataclass(frozen=True)
class AutoJob:
    """What one call of `qir auto` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    data: str | None
    statistics: str | None
    evaluator: str
    max_drop: float | None
    at_least: float | None
    higher_is_better: bool
    relative: bool
    output: str
    strategy: str
    sensitivity: str
    sensitivity_mode: str
    fallback: tuple[str, ...]
    max_evaluations: int | None
    max_time: float | None
    keep_best: bool
    restart: bool
    target: str
    pipeline: str
    config: Path | None
    method: str
    skip: tuple[str, ...]
    form: str | None
    proof_samples: int
    compare_layers: bool
    quiet: bool


def run_job(job: AutoJob) -> bool:
    """Search, print what came out to stdout, and say whether a model keeps the accuracy."""
    options = {f.name: getattr(job, f.name) for f in fields(job) if f.name not in ("model", "data", "quiet")}
    evaluator = options.pop("evaluator")
    data = data_source(job.model, job.data)
    with RichProgress(quiet=job.quiet) as progress:
        tell = telling(progress, step_line, job.quiet)
        result = auto_quantize(job.model, data, evaluator, listener=tell, progress=progress, **options)
    page = write_page(job.output) if job.compare_layers else None
    console = plain_console()
    if not job.quiet:
        _print_result(console, result)
        print_line(console, progress.cost())
        for path in filter(None, (report_path(job.output), page)):
            console.print(f"wrote {path}", soft_wrap=True)
    if not result.reached:
        print_errors(failure_lines(result))
    return result.reached


def step_line(step: Step) -> str:
    """What is shown of a step when it is done."""
    satisfied, loss = step.metric_eval
    where = source_text(step)
    if step.configuration is None:
        return f"step {step.number}: original model, metric {metric_text(step.metric)} ({where})"
    layers = f"{step.floats} of {step.total} layers rolled back{rungs_text(step)}"
    metric = f"metric {metric_text(step.metric)}, loss {loss:.6g}"
    verdict = "keeps the accuracy" if satisfied else "loses too much"
    left = step.evaluations_left
    more = f"; at most {left} more evaluation{'s' if left > 1 else ''}" if left else ""
    return f"step {step.number}: {layers}, {metric}: {verdict} ({where}){more}"


def rungs_text(step: Step) -> str:
    """What the layers that were rolled back became; nothing where all are in float32."""
    counts = Counter((step.configuration or {}).values())
    if not set(counts) - {"float32"}:
        return ""
    if len(counts) == 1:
        return f" to {next(iter(counts))}"
    return " to " + ", ".join(f"{rung} {counts[rung]}" for rung in RUNGS if rung in counts)


def _print_result(console: Console, result: SearchResult) -> None:
    for line in change_lines(result):
        print_line(console, line)
    if result.layers:
        print_layers(console, result.layers)
    console.print(_steps_table(result))
    for line in (*_summary(result), *finding_lines(result.findings, LISTED), *proof_lines(result.proof)):
        print_line(console, line)
    for path in result.paths.written if result.paths else ():
        console.print(f"wrote {path}", soft_wrap=True)


def _steps_table(result: SearchResult) -> Table:
    table = Table()
    for heading in ("step", "rolled back", "metric", "loss", "accuracy kept", "seconds"):
        table.add_column(heading, justify="left" if heading == "accuracy kept" else "right")
    for step in result.steps:
        satisfied, loss = step.metric_eval
        layers = f"{step.floats} of {step.total}{rungs_text(step)}"
        if step.configuration is None:
            layers = "original"
        mark = "" if step is not result.best else " <- best" if result.reached else " <- nearest"
        kept = ("yes" if satisfied else "no") + mark
        seconds = "journal" if step.from_journal else f"{step.seconds:.1f}"
        table.add_row(str(step.number), layers, metric_text(step.metric), f"{loss:.6g}", kept, seconds)
    return table


def _summary(result: SearchResult) -> Iterator[str]:
    yield evaluation_line(result)
    if result.limited:
        yield "a limit ended the search before its strategy did; run it again without the limit to go on"
    if result.reached and result.best is not None:
        count, total = result.best.floats, result.best.total
        yield (
            f"{total - count} of {total} layers are quantized as configured, {count} rolled back"
            f"{rungs_text(result.best)}"
        )
    if result.note:
        yield f"note: {result.note}"


def failure_lines(result: SearchResult) -> Iterator[str]:
    """Why there is no model: what came nearest, and which layers cost most."""
    if result.outcome == "stopped":
        yield "error: the limit came before any quantized model kept the accuracy; no model was written"
    else:
        yield (
            "error: no quantized model is generated: every layer would have to be rolled back. The accuracy "
            "target may be too difficult to achieve"
        )
    best = result.best
    if best is not None and best.configuration is not None:
        yield (
            f"nearest: metric {metric_text(best.metric)}, loss {best.metric_eval[1]:.6g}, with "
            f"{best.floats} of {best.total} layers rolled back{rungs_text(best)}"
            + (" (written as asked by --keep-best)" if result.paths else "; --keep-best would write it")
        )
    worst = result.ranking.worst_first[:_COSTLY]
    if any(result.ranking.scores.values()):
        yield "most sensitive layers: " + ", ".join(f"'{n}' ({result.ranking.scores[n]:.8g})" for n in worst)
