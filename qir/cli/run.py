"""`qir run`: the outputs of a model of any kind on data."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.settings import DATA_HELP, SETTINGS, debug_option, quiet_option


@click.command(context_settings=SETTINGS, short_help="Run any of the graphs on data, and write its outputs.")
@model_argument
@click.option("--data", help=f"Inputs: {DATA_HELP}")
@click.option("-o", "--output", metavar="OUT.npz", required=True, help="File to write the outputs to.")
@quiet_option
@debug_option
def run(model: ModelPath, data: str | None, output: str, quiet: bool, debug: bool) -> None:
    """Run MODEL (float, fake-quant, QDQ or deploy graph) on data and write its outputs by name.

    Samples run one by one and are put together along axis 0. An output whose samples differ in their other
    dimensions is written as NAME/0, NAME/1, …

    \b
      qir run out/model_deploy_model.onnx --data images.npz -o outputs.npz
    """
    with report_errors(debug):
        from qir.cli.run_job import run_job  # noqa: PLC0415

        run_job(model, data, output, quiet)
