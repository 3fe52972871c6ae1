"""`qir-opt`: run any passes over a model and look at the IR."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.plugins import plugin_option
from qir.cli.settings import SETTINGS

if TYPE_CHECKING:  # the job imports onnx, onnxruntime and numba; --help does without
    from qir.cli.outputs import Emit
    from qir.passes.instruments.print_ir import When

_EMIT_CHOICES = ("qir", "onnx", "dot", "fake-quant", "ascend")
_PRINT_CHOICES = ("after-change", "after-all", "on-failure")


def _list_passes(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from qir.cli.pass_list import describe_passes  # noqa: PLC0415

        click.echo(describe_passes(), nl=False)
        context.exit()


def _describe_pass(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name is not None and not context.resilient_parsing:
        from qir.cli.pass_list import describe_pass  # noqa: PLC0415

        with report_errors(debug=False):
            click.echo(describe_pass(name), nl=False)
        context.exit()


@click.command(context_settings=SETTINGS)
@model_argument
@click.option("-p", "--pipeline", default="", help="Passes to run, or the name of a pipeline of the target.")
@click.option("-o", "--output", metavar="OUT", default="-", help="File to write; '-' is stdout.")
@click.option("--data", help="Calibration data: .npz, .npy, folder of .npy, or file.py:function.")
@click.option("--target", default="ascend", show_default=True, help="Whose rules and pipelines to use.")
@click.option(
    "--emit", type=click.Choice(_EMIT_CHOICES), help="What to write; by default what OUT's name says."
)
@click.option("--print-ir", type=click.Choice(_PRINT_CHOICES), help="Print the IR between passes.")
@click.option(
    "--verify-each", is_flag=True, help="Verify the graph after every pass, and the pass's honesty."
)
@click.option("--timing", is_flag=True, help="Print how long each pass took.")
@click.option("--stats", is_flag=True, help="Print what each pass rewrote, and what it refused and why.")
@click.option(
    "--reproducer", metavar="DIR", type=click.Path(path_type=Path),
    help="Where to save the graph before a pass that fails.",
)  # fmt: skip
@click.option(
    "--split-input", is_flag=True, help="MODEL is IR text with several graphs between '// -----' lines."
)
@click.option(
    "--list-passes", is_flag=True, is_eager=True, expose_value=False, callback=_list_passes,
    help="List passes with their options, and the pipelines of each target.",
)  # fmt: skip
@click.option(
    "--describe", metavar="PASS", is_eager=True, expose_value=False, callback=_describe_pass,
    help="Say what a pass does, with its options, mathematics and sources.",
)  # fmt: skip
@plugin_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(
    model: ModelPath,
    pipeline: str,
    output: str,
    data: str | None,
    target: str,
    emit: Emit | None,
    print_ir: When | None,
    verify_each: bool,
    timing: bool,
    stats: bool,
    reproducer: Path | None,
    split_input: bool,
    debug: bool,
) -> None:
    """Run a pipeline of passes over MODEL (.onnx, .qir, or '-' for stdin) and write the result.

    A Caffe net is two files in place of one, NET.prototxt NET.caffemodel. Without -o the IR text goes to
    stdout. Everything else is printed on stderr.

    \b
      qir-opt model.onnx -p 'infer-types,fold-constants,fuse-bn' -o fused.qir
      qir-opt model.onnx -p default --data images.npz --emit ascend -o deploy.onnx
    """
    with report_errors(debug):
        from qir.cli.opt_job import Job, run_job  # noqa: PLC0415

        job = Job(
            model, pipeline, output, data, target, emit,
            print_ir, verify_each, timing, stats, reproducer, split_input,
        )  # fmt: skip
        run_job(job)
