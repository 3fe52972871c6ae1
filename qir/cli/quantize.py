"""`qir quantize`: from a float model and data to the files of a quantized one."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.plugins import plugin_option
from qir.cli.settings import (
    SETTINGS,
    calibration_data_option,
    debug_option,
    form_option,
    pipeline_option,
    prefix_option,
    proof_samples_option,
    quiet_option,
    skip_option,
    target_option,
)
from qir.ir.errors import ConfigError

METHODS = ("min-max", "moving-average", "percentile", "mse", "kl", "ifmr", "hfmg")
"""Listed here again, because help is shown without importing the methods."""


def _known_method(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    """The name of a method; only one that is not listed above makes the registry load."""
    if name not in METHODS:
        from qir.runtime.calibration import method_named  # noqa: PLC0415

        try:
            method_named(name)
        except ConfigError as error:
            raise click.BadParameter(str(error)) from error
    return name


@click.command(
    context_settings=SETTINGS, short_help="Quantize a model: fake-quant graph, deploy graph, record."
)
@model_argument
@calibration_data_option
@click.option(
    "--stats", metavar="STATS.npz",
    help="Statistics by `qir calibrate`, in place of data; data are compared and proven on then.",
)  # fmt: skip
@prefix_option
@target_option
@pipeline_option
@click.option(
    "--method", metavar="NAME", default="ifmr", show_default=True, callback=_known_method,
    help=f"How ranges of activations are chosen: {', '.join(METHODS)}.",
)  # fmt: skip
@skip_option
@click.option("--config", metavar="FILE", help="AMCT's config.json or simplified .cfg, see `qir config`.")
@click.option(
    "--quant-config", metavar="FILE.json", help="Precisions by model, op type, subgraph and node, as JSON."
)
@click.option(
    "--show-config", is_flag=True, help="Print what each operand was to have by the configuration, and has."
)
@form_option
@proof_samples_option
@click.option(
    "--report", is_flag=True,
    help="Compare each layer with the float model too: a table, and the page PREFIX_report.html.",
)  # fmt: skip
@plugin_option
@quiet_option
@debug_option
def quantize(
    model: ModelPath,
    data: str | None,
    stats: str | None,
    output: str,
    target: str,
    pipeline: str,
    method: str,
    skip: tuple[str, ...],
    config: str | None,
    quant_config: str | None,
    show_config: bool,
    form: str | None,
    proof_samples: int,
    report: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Quantize MODEL (.onnx, .qir, or sample:digits) and write fake-quant graph, deploy graph and record.

    \b
      qir quantize sample:digits -o out/digits
      qir quantize model.onnx --data calibration.npz -o out/model
      qir quantize net.prototxt net.caffemodel --data calibration.npz -o out/net
    """
    with report_errors(debug):
        from qir.cli.quantize_job import QuantizeJob, run_job  # noqa: PLC0415

        job = QuantizeJob(
            model, data, stats, output, target, pipeline, method, skip, config, quant_config, show_config,
            form, proof_samples, report, quiet,
        )  # fmt: skip
        run_job(job)
