"""`qir convert`: both graphs without calibration, from a record of scales or from a QDQ model."""

from __future__ import annotations

from typing import Literal

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.settings import DATA_HELP, SETTINGS, debug_option, prefix_option, quiet_option


@click.command(
    context_settings=SETTINGS, short_help="Take over a model that was quantized elsewhere, without data."
)
@model_argument
@click.option("--record", metavar="FILE", help="AMCT's record of scales for the float MODEL.")
@prefix_option
@click.option(
    "--pipeline", help="With --record: the fusions before it, a pipeline or its text (default amct)."
)
@click.option(
    "--form", type=click.Choice(("ascend", "qdq")),
    help="Fake-quant graph in plain ops, as the deploy graph computes (default with --record), or in "
    "QuantizeLinear/DequantizeLinear, as it came (default of QDQ models).",
)  # fmt: skip
@click.option(
    "--between-floats",
    type=click.Choice(("keep", "drop")),
    help="Of a QDQ model: pairs between float ops stay (default), or go but for their saturation.",
)
@click.option("--data", help=f"Samples to prove the deploy graph on, not to calibrate: {DATA_HELP}")
@quiet_option
@debug_option
def convert(
    model: ModelPath,
    record: str | None,
    output: str,
    pipeline: str | None,
    form: str | None,
    between_floats: Literal["keep", "drop"] | None,
    data: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Write fake-quant and deploy graph of MODEL whose scales are known already, without data.

    With --record MODEL is a float model and the record says how it is quantized; without it MODEL is an ONNX
    model with QuantizeLinear and DequantizeLinear.

    \b
      qir convert model.onnx --record record.txt -o out/model
      qir convert model_qdq.onnx -o out/model
    """
    with report_errors(debug):
        from qir.cli.convert_job import ConvertJob, run_job  # noqa: PLC0415

        run_job(ConvertJob(model, record, output, pipeline, form, between_floats, data, quiet))
