"""What the commands of `qir` have in common: how help looks, and options that mean the same everywhere."""

from __future__ import annotations

from typing import Any

import click

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

DATA_HELP = ".npz, .npy of the only input, folder of .npy per input, or file.py:function."
calibration_data_option = click.option("--data", help=f"Calibration data: {DATA_HELP}")

prefix_option = click.option(
    "-o", "--output", metavar="PREFIX", required=True, help="Where files go: PREFIX_deploy_model.onnx, …"
)
target_option = click.option("--target", default="ascend", show_default=True, help="Hardware to compile for.")
pipeline_option = click.option(
    "--pipeline", default="default", show_default=True, help="A pipeline of the target, or its text."
)
skip_option = click.option(
    "--skip",
    multiple=True,
    metavar="LAYER",
    help="Layer to leave in float, or type:OP, or regex:EXPRESSION; may be repeated.",
)
form_option = click.option(
    "--form", type=click.Choice(("ascend", "qdq")),
    help="Fake-quant graph in plain ops (predicts the deploy graph) or QuantizeLinear/DequantizeLinear; "
    "the target's by default: ascend for ascend, qdq for qdq.",
)  # fmt: skip
proof_samples_option = click.option(
    "--proof-samples", type=click.IntRange(min=0), default=2, show_default=True, metavar="N",
    help="Samples on which the written deploy graph must give the integers of the fake-quant graph; 0: none.",
)  # fmt: skip
quiet_option = click.option("--quiet", is_flag=True, help="No progress bars and no table.")
debug_option = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
