"""`qir calibrate`: from a float model and data to a file of statistics, for any later quantization."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.plugins import plugin_option
from qir.cli.settings import (
    SETTINGS,
    calibration_data_option,
    debug_option,
    pipeline_option,
    quiet_option,
    target_option,
)


@click.command(
    context_settings=SETTINGS, short_help="Take statistics of a run over data, for any later method."
)
@model_argument
@calibration_data_option
@click.option("-o", "--output", metavar="STATS.npz", required=True, help="The file of statistics to write.")
@target_option
@pipeline_option
@click.option(
    "--skip", multiple=True, metavar="LAYER",
    help="Layer (or type:OP, or regex:EXPRESSION) that will stay in float, so that its input need not be "
    "finite; may be repeated.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Run in so many processes.")
@click.option(
    "--dask", metavar="ADDRESS", help="Run on the dask cluster of that scheduler (extra qir[dask])."
)
@plugin_option
@quiet_option
@debug_option
def calibrate(
    model: ModelPath,
    data: str | None,
    output: str,
    target: str,
    pipeline: str,
    skip: tuple[str, ...],
    workers: int | None,
    dask: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Run MODEL over data and write statistics: scales for any method, skip list and bit width.

    \b
      qir calibrate model.onnx --data calibration.npz -o stats.npz
      qir quantize model.onnx --stats stats.npz --method kl -o out/model
    """
    with report_errors(debug):
        from qir.cli.calibrate_job import CalibrateJob, run_job  # noqa: PLC0415

        run_job(CalibrateJob(model, data, output, target, pipeline, skip, workers, dask, quiet))
