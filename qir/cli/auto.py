"""`qir auto`: quantize as much as the accuracy that the user asks for allows."""

from __future__ import annotations

from pathlib import Path

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.search_options import accuracy_options, ending_options, ranking_options, result_options
from qir.cli.settings import SETTINGS, pipeline_option, target_option


@click.command(
    context_settings=SETTINGS, short_help="Leave layers in float where INT8 costs too much accuracy."
)
@model_argument
@accuracy_options
@ranking_options
@click.option(
    "--fallback", default="float32", show_default=True, metavar="RUNG[,RUNG]",
    help="What rolled back layers become: int16, int16-ec, float16, float32; of several the first that does.",
)  # fmt: skip
@ending_options
@target_option
@pipeline_option
@click.option("--config", type=click.Path(path_type=Path), help="AMCT's config.json or .cfg to start from.")
@click.option("--method", default="ifmr", show_default=True, help="Activation ranges.")
@result_options
def auto(
    model: ModelPath,
    data: str | None,
    stats: str | None,
    evaluator: str,
    max_drop: float | None,
    at_least: float | None,
    lower_is_better: bool,
    relative: bool,
    output: str,
    strategy: str,
    sensitivity: str,
    sensitivity_mode: str,
    fallback: str,
    max_evaluations: int | None,
    max_time: float | None,
    keep_best: bool,
    restart: bool,
    target: str,
    pipeline: str,
    config: Path | None,
    method: str,
    skip: tuple[str, ...],
    form: str | None,
    proof_samples: int,
    report: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Quantize the layers of MODEL that keep the accuracy; leave those in float that would cost it.

    Every answer of the evaluator is kept in PREFIX_journal.jsonl: the same command goes on where it was
    interrupted. Exit code 3 when no quantized model keeps the accuracy; then none is written.

    \b
      qir auto model.onnx --data calibration.npz -o out/model \\
        --evaluator top1:labelled.npz --max-drop 0.002
      qir auto model.onnx --data calibration.npz -o out/model \\
        --evaluator accuracy.py:Evaluator
    """
    with report_errors(debug):
        from qir.cli.auto_job import AutoJob, run_job  # noqa: PLC0415

        rungs = tuple(rung.strip() for rung in fallback.split(","))
        job = AutoJob(
            model, data, stats, evaluator, max_drop, at_least, not lower_is_better, relative, output,
            strategy, sensitivity, sensitivity_mode, rungs, max_evaluations, max_time, keep_best, restart,
            target, pipeline, config, method, skip, form, proof_samples, report, quiet,
        )  # fmt: skip
        reached = run_job(job)
    if not reached:
        raise click.exceptions.Exit(3)
