"""`qir`: the command for users who want a quantized model, and want to know what it does."""

from __future__ import annotations

import click

from qir.cli.amct import amct
from qir.cli.auto import auto
from qir.cli.calibrate import calibrate
from qir.cli.check import check
from qir.cli.compare import compare
from qir.cli.config import config
from qir.cli.convert import convert
from qir.cli.debug import debug
from qir.cli.quantize import quantize
from qir.cli.report import report
from qir.cli.run import run
from qir.cli.sensitivity import sensitivity
from qir.cli.settings import SETTINGS
from qir.cli.tune import tune


@click.group(context_settings=SETTINGS)
@click.version_option(package_name="qir")
def main() -> None:
    """Quantization compiler for ONNX models.

    \b
    Exit codes: 0 done; 1 an error, said in one message; 2 wrong command line;
    3 no model keeps the accuracy (auto, tune); 130 and 143 interrupted.
    """


for command in (
    quantize, auto, tune, sensitivity, debug, report, calibrate, config, convert, run, compare, check, amct,
):  # fmt: skip
    main.add_command(command)
