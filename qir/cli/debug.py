"""`qir debug`: what quantization does inside a model, as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.plugins import plugin_option
from qir.cli.settings import (
    DATA_HELP,
    SETTINGS,
    debug_option,
    pipeline_option,
    quiet_option,
    skip_option,
    target_option,
)

KINDS = ("sensitivity", "error", "distribution", "channels", "partial", "all")
_TAKERS = {
    "--metric": ("sensitivity", "error", "all"),
    "--type": ("sensitivity",),
    "--output-node": ("sensitivity", "all"),
    "--node": ("sensitivity", "distribution", "channels", "partial", "all"),
    "--only": ("error", "all"),
    "--without": ("error", "all"),
    "--average": ("error", "all"),
    "--axis": ("channels", "all"),
    "--threshold": ("partial", "all"),
}
"""Options that only some kinds take."""


def _check(kind: str, given: Mapping[str, object]) -> None:
    """UsageError for options, by name, that the kind does not take, or that it lacks."""
    for name, value in given.items():
        if value is not None and kind not in _TAKERS[name]:
            raise click.UsageError(f"{name} goes with {', '.join(_TAKERS[name])}, not with {kind}")
    if kind in ("distribution", "channels") and given["--node"] is None:
        raise click.UsageError(f"{kind} needs --node NAME")


@click.command(
    context_settings=SETTINGS, short_help="Tables and pictures of what quantization does inside a model."
)
@click.argument("kind", type=click.Choice(KINDS))
@model_argument
@click.option("--data", help=f"Calibration data, of which the first samples are run: {DATA_HELP}")
@click.option("-o", "--output", metavar="FOLDER", required=True, help="Where .csv, .json and .png files go.")
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N",
    help="Run the first N samples; by default 8 or fewer, and 1 for partial.",
)  # fmt: skip
@click.option(
    "--metric", multiple=True, metavar="NAME",
    help="cosine-similarity (default), sqnr, mse, mae, mre, chebyshev, kl; several for sensitivity, by the "
    "first of which rows are ordered. [sensitivity, error, all]",
)  # fmt: skip
@click.option(
    "--type", "node_type", type=click.Choice(("node", "weight", "activation")),
    help="What is quantized alone: nodes (default), weights, or activations. [sensitivity]",
)  # fmt: skip
@click.option(
    "--output-node", metavar="NAME",
    help="Compare the result of this node instead of the model's outputs. [sensitivity, all]",
)  # fmt: skip
@click.option(
    "--node", multiple=True, metavar="NAME[,NAME]",
    help="Only this node, or these together; may be repeated. [all but error; distribution and channels "
    "need one]",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="NAME[,NAME]",
    help="A curve with only this quantized: a node, nodes together, weight, or activation; may be repeated. "
    "[error, all]",
)  # fmt: skip
@click.option(
    "--without", multiple=True, metavar="NAME[,NAME]",
    help="A curve with all but this quantized; may be repeated. [error, all]",
)  # fmt: skip
@click.option(
    "--average", is_flag=True, default=None,
    help="Along the graph, the mean over all nodes up to there. [error, all]",
)  # fmt: skip
@click.option("--axis", type=int, help="Axis of the channels. [channels, all]")
@click.option(
    "--threshold", type=click.FloatRange(-1, 1), metavar="COSINE",
    help="Analyse the nodes below this cosine similarity; default 0.999. [partial, all]",
)  # fmt: skip
@click.option("--no-plot", is_flag=True, help="No .png; plots need matplotlib (extra qir[plots]).")
@click.option("--stats", metavar="STATS.npz", help="Statistics by `qir calibrate`.")
@target_option
@pipeline_option
@click.option("--method", metavar="NAME", default="ifmr", show_default=True, help="Activation ranges.")
@skip_option
@click.option("--config", metavar="FILE", help="A quant_config, or AMCT's config.json or simplified .cfg.")
@plugin_option
@quiet_option
@debug_option
def debug(
    kind: str,
    model: ModelPath,
    data: str | None,
    output: str,
    samples: int | None,
    metric: tuple[str, ...],
    node_type: str | None,
    output_node: str | None,
    node: tuple[str, ...],
    only: tuple[str, ...],
    without: tuple[str, ...],
    average: bool | None,
    axis: int | None,
    threshold: float | None,
    no_plot: bool,
    stats: str | None,
    target: str,
    pipeline: str,
    method: str,
    skip: tuple[str, ...],
    config: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Show what quantization does inside MODEL.

    \b
    sensitivity   which nodes (weights, activations) hurt when quantized alone
    error         the error of every node's result along the graph
    distribution  histograms of what a node reads and gives, and of its weights
    channels      box plots of the same, channel by channel
    partial       which nodes to raise: the model with the worst of them in float
    all           all of it, pictures of the 5 worst nodes, and a page of it

    MODEL is a float model, which is calibrated first, or a `.qir` file that is quantized already; for a Caffe
    net give its `.prototxt` and its `.caffemodel`.

    \b
      qir debug sensitivity model.onnx --data calibration.npz -o debug
      qir debug error model.onnx --data calibration.npz -o debug \\
        --only weight --only conv1,conv2
      qir debug all calibrated.qir --data calibration.npz -o debug
    """
    given = {
        "--metric": metric or None, "--type": node_type, "--output-node": output_node, "--node": node or None,
        "--only": only or None, "--without": without or None, "--average": average, "--axis": axis,
        "--threshold": threshold,
    }  # fmt: skip
    _check(kind, given)
    with report_errors(debug):
        from qir.cli.debug_job import DebugJob, Source, run_job  # noqa: PLC0415

        source = Source(model, data, stats, target, pipeline, method, skip, config)
        job = DebugJob(
            kind, source, output, samples, metric, node_type or "node", output_node, node, only, without,
            bool(average), axis, threshold, not no_plot, quiet,
        )  # fmt: skip
        run_job(job)
