"""`qir check`: the rules of the ATC compiler, before ATC is asked."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.settings import SETTINGS, debug_option


@click.command(context_settings=SETTINGS, short_help="Check a deploy graph against the rules of ATC.")
@model_argument
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@debug_option
def check(model: ModelPath, strict: bool, debug: bool) -> None:
    """Check the deploy graph MODEL against the rules of ATC; exit 1 when one is broken.

    \b
      qir check out/model_deploy_model.onnx
    """
    with report_errors(debug):
        from qir.cli.check_job import run_job  # noqa: PLC0415

        run_job(model, strict)
