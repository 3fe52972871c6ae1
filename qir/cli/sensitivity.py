"""`qir sensitivity`: which layers suffer most from quantization."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.plugins import plugin_option
from qir.cli.settings import (
    DATA_HELP,
    SETTINGS,
    debug_option,
    pipeline_option,
    quiet_option,
    skip_option,
    target_option,
)


@click.command(context_settings=SETTINGS, short_help="Rank layers by what quantizing each of them costs.")
@model_argument
@click.option("--data", help=f"Calibration data, of which the first samples are measured: {DATA_HELP}")
@click.option(
    "--stats", metavar="STATS.npz", help="Statistics by `qir calibrate`; data are only measured on then."
)
@click.option(
    "--metric", default="cosine-similarity", show_default=True, metavar="NAME",
    help="cosine-similarity, sqnr, mse, mae, mre, chebyshev, kl.",
)  # fmt: skip
@click.option(
    "--mode", type=click.Choice(("layer", "model")), default="layer", show_default=True,
    help="Whose output is compared: the layer's own, or the model's (slower, nearer to what counts).",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N",
    help="Measure on the first N samples; by default 16, and 8 with --mode model.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="PREFIX", help="Write PREFIX_sensitivity.csv, .json, and the bar plot .png."
)
@click.option("--no-plot", is_flag=True, help="No .png; the plot needs matplotlib (extra qir[plots]).")
@click.option(
    "--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
    help="List the N worst layers; the files have all.",
)  # fmt: skip
@target_option
@pipeline_option
@click.option("--method", metavar="NAME", default="ifmr", show_default=True, help="Activation ranges.")
@skip_option
@click.option("--config", metavar="FILE", help="AMCT's config.json or simplified .cfg, see `qir config`.")
@plugin_option
@quiet_option
@debug_option
def sensitivity(
    model: ModelPath,
    data: str | None,
    stats: str | None,
    metric: str,
    mode: str,
    samples: int | None,
    output: str | None,
    no_plot: bool,
    top: int,
    target: str,
    pipeline: str,
    method: str,
    skip: tuple[str, ...],
    config: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Rank the layers of MODEL by what quantizing each of them alone does, the worst first.

    MODEL is a float model, which is calibrated first, or a `.qir` file that is quantized already; for a Caffe
    net give its `.prototxt` and its `.caffemodel`.

    \b
      qir sensitivity model.onnx --data calibration.npz
      qir sensitivity model.onnx --data calibration.npz -o out/model \\
        --mode model --metric sqnr
    """
    with report_errors(debug):
        from qir.cli.sensitivity_job import SensitivityJob, run_job  # noqa: PLC0415

        job = SensitivityJob(
            model, data, stats, metric, mode, samples, output, not no_plot, top, target, pipeline, method,
            skip, config, quiet,
        )  # fmt: skip
        run_job(job)
