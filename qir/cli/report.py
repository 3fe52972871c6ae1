"""`qir report`: one HTML page about a quantized model, made of the files beside it."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.settings import SETTINGS, debug_option


@click.command(context_settings=SETTINGS, short_help="One page about a model that was quantized.")
@click.argument("prefix", required=False)
@click.option(
    "-o", "--output", metavar="FILE.html", help="Where the page goes; by default PREFIX_report.html."
)
@click.option(
    "--debug-folder", metavar="FOLDER", help="Files of `qir debug`; by default PREFIX_debug, if it is there."
)
@debug_option
def report(prefix: str | None, output: str | None, debug_folder: str | None, debug: bool) -> None:
    """Make one page of all files with this PREFIX: summary, layers, errors, ranges, search, graph.

    The page needs nothing outside it. Files that are missing are named on it, with what makes them.

    \b
      qir quantize model.onnx --data calibration.npz -o out/model --report
      qir report out/model -o report.html
    """
    with report_errors(debug):
        from qir.report.page import write_page  # noqa: PLC0415

        click.echo(f"wrote {write_page(prefix, output, debug_folder)}")
