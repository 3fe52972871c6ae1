"""`qir amct`: the command line of AMCT for ONNX models, with its options and files."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.settings import SETTINGS, debug_option

_model = click.option("--model", required=True, metavar="FILE", help="The ONNX model.")
_save_path = click.option(
    "--save_path", required=True, metavar="PREFIX", help="Where files go: PREFIX_deploy_model.onnx, …"
)


@click.group(context_settings=SETTINGS, short_help="The commands of AMCT's own command line.")
def amct() -> None:
    """The commands of AMCT's command line, amct_onnx, under their own names."""


@amct.command(context_settings=SETTINGS, short_help="Quantize with raw data, or those of an evaluator.")
@_model
@_save_path
@click.option(
    "--input_shape", metavar='"NAME:1,3,224,224;…"', help="Shape of a batch; one -1: as much as a file has."
)
@click.option(
    "--data_dir", metavar="FOLDER;…", help="A folder of raw .bin files for each input, one file a batch."
)
@click.option("--data_types", "--data_type", metavar="float32;…", help="Element type of each input's files.")
@click.option("--evaluator", metavar="FILE.py", help="Script with an evaluator, in the place of --data_dir.")
@click.option("--calibration_config", metavar="FILE.cfg", help="AMCT's simplified configuration.")
@click.option("--batch_num", type=int, help="How many batches calibrate: 1, or as the configuration says.")
@debug_option
def calibration(
    model: str,
    save_path: str,
    input_shape: str | None,
    data_dir: str | None,
    data_types: str | None,
    evaluator: str | None,
    calibration_config: str | None,
    batch_num: int | None,
    debug: bool,
) -> None:
    """Quantize a float model with raw calibration data, or with those of an evaluator.

    \b
      qir amct calibration --model net.onnx --save_path out/net \\
        --input_shape "input:16,3,224,224" --data_types float32 \\
        --data_dir ./calibration
    """
    with report_errors(debug):
        from qir.compat.amct_onnx.command_line import CalibrationOptions, calibrate  # noqa: PLC0415

        calibrate(
            CalibrationOptions(
                model, save_path, input_shape, data_dir, data_types, evaluator, calibration_config, batch_num
            )
        )
        _say_written(save_path)


@amct.command(context_settings=SETTINGS, short_help="Convert a model from quantization-aware training.")
@_model
@_save_path
@click.option("--record_file", metavar="FILE", help="File for the scales and zero points.")
@debug_option
def convert(model: str, save_path: str, record_file: str | None, debug: bool) -> None:
    """Convert a model from quantization-aware training, with QuantizeLinear and DequantizeLinear."""
    with report_errors(debug):
        from qir.compat.amct_onnx.functions import convert_qat_model  # noqa: PLC0415

        convert_qat_model(model, save_path, record_file)
        _say_written(save_path)


def _say_written(save_path: str) -> None:
    from qir.backends.files import output_paths  # noqa: PLC0415

    for path in output_paths(save_path)[:2]:
        click.echo(f"wrote {path}")
