"""`qir`: the command for users who want a quantized model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qir.cli.errors import report_errors

if TYPE_CHECKING:  # the job imports onnx, onnxruntime and numba; --help does without
    from qir.passes.calibrate import Method

_METHODS = ("ifmr", "min-max", "percentile")
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=_SETTINGS)
@click.version_option(package_name="qir")
def main() -> None:
    """Quantization compiler for ONNX models."""


@main.command(context_settings=_SETTINGS)
@click.argument("model")
@click.option("--data", help="Calibration data: .npz, folder of .npy per input, or file.py:function.")
@click.option(
    "-o", "--output", metavar="PREFIX", required=True, help="Where files go: PREFIX_deploy_model.onnx, …"
)
@click.option("--target", default="ascend", show_default=True, help="Hardware to compile for.")
@click.option(
    "--pipeline", default="default", show_default=True, help="A pipeline of the target, or its text."
)
@click.option(
    "--method", type=click.Choice(_METHODS), default="ifmr", show_default=True, help="Activation ranges."
)
@click.option("--skip", multiple=True, metavar="LAYER", help="Layer to leave in float; may be repeated.")
@click.option(
    "--form", type=click.Choice(("ascend", "qdq")), default="ascend", show_default=True,
    help="Fake-quant graph in plain ops (predicts the deploy graph) or QuantizeLinear/DequantizeLinear.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress bars and no table.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def quantize(
    model: str,
    data: str | None,
    output: str,
    target: str,
    pipeline: str,
    method: Method,
    skip: tuple[str, ...],
    form: str,
    quiet: bool,
    debug: bool,
) -> None:
    """Quantize MODEL (.onnx, .qir, or sample:digits) and write fake-quant graph, deploy graph and record.

    \b
      qir quantize sample:digits -o out/digits
      qir quantize model.onnx --data calibration.npz -o out/model
    """
    with report_errors(debug):
        from qir.cli.quantize_job import QuantizeJob, run_job  # noqa: PLC0415

        run_job(QuantizeJob(model, data, output, target, pipeline, method, skip, form, quiet))
