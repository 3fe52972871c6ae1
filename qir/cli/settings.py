"""What the commands of `qir` have in common: how help looks, and options that mean the same everywhere."""

from __future__ import annotations

from typing import Any

import click

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

DATA_HELP = ".npz, folder of .npy per input, or file.py:function."

prefix_option = click.option(
    "-o", "--output", metavar="PREFIX", required=True, help="Where files go: PREFIX_deploy_model.onnx, …"
)
form_option = click.option(
    "--form", type=click.Choice(("ascend", "qdq")), default="ascend", show_default=True,
    help="Fake-quant graph in plain ops (predicts the deploy graph) or QuantizeLinear/DequantizeLinear.",
)  # fmt: skip
quiet_option = click.option("--quiet", is_flag=True, help="No progress bars and no table.")
debug_option = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
