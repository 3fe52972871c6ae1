"""`qir tune`: raise the precision of as few layers as the accuracy that the user asks for takes."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.search_options import accuracy_options, ending_options, ranking_options, result_options
from qir.cli.settings import SETTINGS, pipeline_option, target_option


@click.command(
    context_settings=SETTINGS, short_help="Mix precisions: raise as few layers as the accuracy takes."
)
@model_argument
@accuracy_options
@click.option(
    "--ladder", default="int16,int16-ec,float16,float32", show_default=True, metavar="RUNG[,RUNG]",
    help="What layers may be raised to from INT8, in this order; what the target lacks is left out.",
)  # fmt: skip
@ranking_options
@ending_options
@target_option
@pipeline_option
@click.option(
    "--quant-config", metavar="FILE.json",
    help="A quant_config to start from: op types, subgraphs and nodes in it are pinned, the others tuned.",
)  # fmt: skip
@click.option(
    "--method",
    metavar="NAME",
    help="Activation ranges (the pipeline's if not given); search: the best for all layers in INT16.",
)
@result_options
def tune(
    model: ModelPath,
    data: str | None,
    stats: str | None,
    evaluator: str,
    max_drop: float | None,
    at_least: float | None,
    lower_is_better: bool,
    relative: bool,
    output: str,
    ladder: str,
    strategy: str,
    sensitivity: str,
    sensitivity_mode: str,
    max_evaluations: int | None,
    max_time: float | None,
    keep_best: bool,
    restart: bool,
    target: str,
    pipeline: str,
    quant_config: str | None,
    method: str | None,
    skip: tuple[str, ...],
    form: str | None,
    proof_samples: int,
    report: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Mix precisions in MODEL: layers that cost accuracy in INT8 are raised, as few and as little as will do.

    First every layer in INT8, then all on each rung of the ladder; then the cheapest mixture, the most
    sensitive layers raised first. PREFIX_quant_config.json is the mixture: `qir quantize --quant-config`
    makes the same model of it. Every answer of the evaluator is kept in PREFIX_journal.jsonl: the same
    command goes on where it was interrupted. Exit code 3 when no mixture keeps the accuracy; then no model is
    written.

    \b
      qir tune model.onnx --data calibration.npz -o out/model \\
        --evaluator top1:labelled.npz --max-drop 0.001
    """
    with report_errors(debug):
        from qir.cli.tune_job import TuneJob, run_job  # noqa: PLC0415

        rungs = tuple(rung.strip() for rung in ladder.split(","))
        job = TuneJob(
            model, data, stats, evaluator, max_drop, at_least, not lower_is_better, relative, output, rungs,
            strategy, sensitivity, sensitivity_mode, max_evaluations, max_time, keep_best, restart, target,
            pipeline, quant_config, method, skip, form, proof_samples, report, quiet,
        )  # fmt: skip
        reached = run_job(job)
    if not reached:
        raise click.exceptions.Exit(3)
