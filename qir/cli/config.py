"""`qir config`: a configuration for a model, to be edited and given to `qir quantize --config`."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.settings import (
    SETTINGS,
    debug_option,
    skip_option,
    target_option,
)


@click.command(context_settings=SETTINGS)
@model_argument
@click.option("-o", "--output", metavar="FILE.json", help="Where to write it; stdout without.")
@skip_option
@click.option(
    "--batch-num", type=int, default=1, show_default=True, metavar="N",
    help="How many samples of calibration data there must be at least.",
)  # fmt: skip
@click.option(
    "--cfg", metavar="FILE.cfg", help="AMCT's simplified configuration; replaces the other options."
)
@click.option("--symmetric", is_flag=True, help="Inputs without zero point.")
@target_option
@click.option("--pipeline", default="default", show_default=True, help="The pipeline that it will refine.")
@click.option("--as-pipeline", is_flag=True, help="Print the passes that it means instead of the file.")
@click.option(
    "--quant-config", metavar="FILE.json",
    help="A quant_config: print what each operand gets by it; -o writes that as JSON.",
)  # fmt: skip
@debug_option
def config(
    model: ModelPath,
    output: str | None,
    skip: tuple[str, ...],
    batch_num: int,
    cfg: str | None,
    symmetric: bool,
    target: str,
    pipeline: str,
    as_pipeline: bool,
    quant_config: str | None,
    debug: bool,
) -> None:
    """Write a configuration of every layer of MODEL that can be quantized, in the form of AMCT's config.json.

    \b
      qir config model.onnx -o config.json
      qir quantize model.onnx --data calibration.npz --config config.json -o out/model
    """
    with report_errors(debug):
        from qir.cli.config_job import ConfigJob, ResolveJob, resolve_job, run_job  # noqa: PLC0415

        if quant_config is not None:
            if skip or cfg is not None or symmetric or batch_num != 1:
                raise click.UsageError(
                    "--quant-config says itself what is quantized: leave out --skip, --batch-num, --cfg and "
                    "--symmetric"
                )
            resolve_job(ResolveJob(model, quant_config, output, target, pipeline, as_pipeline))
            return
        run_job(ConfigJob(model, output, skip, batch_num, cfg, symmetric, target, pipeline, as_pipeline))
