"""`qir compare`: how near two models are, and where they part."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, models_argument
from qir.cli.settings import DATA_HELP, SETTINGS, debug_option


@click.command(
    context_settings=SETTINGS, short_help="How near two models are, by output and layer; or their times."
)
@models_argument
@click.option("--data", help=f"Inputs: {DATA_HELP}")
@click.option(
    "--samples", type=click.IntRange(min=1), default=16, show_default=True, metavar="N",
    help="Compare on the first N samples.",
)  # fmt: skip
@click.option(
    "--max-abs", type=click.FloatRange(min=0), metavar="X",
    help="Greatest difference allowed in an output; 0 unless --cosine or --sqnr is given.",
)  # fmt: skip
@click.option(
    "--cosine", type=click.FloatRange(-1, 1), metavar="X", help="Least cosine similarity of each output."
)
@click.option(
    "--sqnr", type=float, metavar="DB", help="Least signal-to-quantization-noise ratio of each output."
)
@click.option(
    "--mismatches", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
    help="How many integers may differ, where both compute on integers.",
)  # fmt: skip
@click.option("--all-layers", is_flag=True, help="List layers that are equal too.")
@click.option(
    "--benchmark", is_flag=True,
    help="Time both models in ONNX Runtime instead, kernel by kernel.",
)  # fmt: skip
@debug_option
def compare(
    models: tuple[ModelPath, ModelPath],
    data: str | None,
    samples: int,
    max_abs: float | None,
    cosine: float | None,
    sqnr: float | None,
    mismatches: int,
    all_layers: bool,
    benchmark: bool,
    debug: bool,
) -> None:
    """Compare models A and B (float, fake-quant, QDQ or deploy graph each) output by output, layer by layer.

    Exit code 0 when they agree within the tolerance, otherwise 1. A fake-quant and a deploy graph that were
    made of the same quantization agree exactly.

    \b
      qir compare out/m_fake_quant_model.onnx out/m_deploy_model.onnx --data d.npz
      qir compare m.onnx out/m_deploy_model.onnx --data d.npz --cosine 0.99
      qir compare m.onnx out/m_fake_quant_model.onnx --data d.npz --benchmark
    """
    with report_errors(debug):
        if benchmark:
            from qir.cli.benchmark_job import run_job as time_models  # noqa: PLC0415

            time_models(*models, data, samples)
            return
        from qir.cli.compare_job import run_job  # noqa: PLC0415
        from qir.comparison import Tolerance  # noqa: PLC0415

        tolerance = Tolerance(max_abs, cosine, sqnr, mismatches)
        run_job(*models, data, samples, tolerance, all_layers)
