"""`qir config`: a configuration for a model, to be edited and given to `qir quantize --config`."""

from __future__ import annotations

import click

from qir.cli.errors import report_errors
from qir.cli.model_argument import ModelPath, model_argument
from qir.cli.settings import (
    SETTINGS,
    debug_option,
    skip_option,
    target_option,
)


@click.command(context_settings=SETTINGS, short_help="A configuration of every layer, to edit.")
@model_argument
@click.option("-o", "--output", metavar="FILE.json", help="Where to write it; stdout without.")
@skip_option
@click.option(
    "--batch-num", type=int, default=1, show_default=True, metavar="N",
    help="How many samples of calibration data there must be at least.",
)  # fmt: skip
@click.option(
    "--cfg", metavar="FILE.cfg", help="AMCT's simplified configuration; replaces the other options."
)
@click.option("--symmetric", is_flag=True, help="Inputs without zero point.")
@target_option
@click.option("--pipeline", default="default", show_default=True, help="The pipeline that it will refine.")
@click.option("--as-pipeline", is_flag=True, help="Print the passes that it means instead of the file.")
@click.option(
    "--quant-config", metavar="FILE.json",
    help="A quant_config: print what each operand gets by it; -o writes that as JSON.",
)  # fmt: skip
@debug_option
def config(
    model: ModelPath,
    output: str | None,
    skip: tuple[str, ...],
    batch_num: int,
    cfg: str | None,
    symmetric: bool,
    target: str,
    pipeline: str,
    as_pipeline: bool,
    quant_config: str | None,
    debug: bool,
) -> None:
    """Write a configuration of every layer of MODEL that can be quantized, in the form of AMCT's config.json.

    \b
      qir config model.onnx -o config.json
      qir quantize model.onnx --data images.npz --config config.json -o out/model

    A layer there has num_bits (of inputs 8 or 16, of weights 4, 6, 7 or 8), a method (ifmr, hfmg), zero
    point, scales per channel and AMCT's DMQ balancer (dmq_balancer_param), or stays in float (quant_enable:
    false), as does a layer that the file does not have. Of batch_num samples there must be at least so many;
    all are used.

    A quant_config has four levels, the finer of which wins: model_config, op_config by op type,
    subgraph_config (every node on a path from `inputs` to `outputs`), node_config, and single inputs (input0)
    over their node. Types are int8, int16, float16, float32, and for Conv, ConvTranspose, Gemm and MatMul
    dual-int16 and int16-ec; what the target lacks becomes the nearest lower one.

    In model_config: all_node_type; activation with calibration_type (max, min-max, percentile, kl, mse, ifmr,
    hfmg; the pipeline's without), num_bin, max_num_bin, max_percentile, asymmetric, per_channel
    (equalize-inputs); weight with bias_correction ({"num_sample": 8, "metric": ...}). With lists of
    candidates in activation, or "modelwise_search": {"metric": ..., "similarity": ...}, the combination is
    taken whose model outputs are nearest to the float ones; with "layerwise_search": {"metric": ..., "topk":
    3, "qtype": "int16"} each layer gets its own, and the topk layers that lose most get qtype.
    """
    with report_errors(debug):
        from qir.cli.config_job import ConfigJob, ResolveJob, resolve_job, run_job  # noqa: PLC0415

        if quant_config is not None:
            if skip or cfg is not None or symmetric or batch_num != 1:
                raise click.UsageError(
                    "--quant-config says itself what is quantized: leave out --skip, --batch-num, --cfg and "
                    "--symmetric"
                )
            resolve_job(ResolveJob(model, quant_config, output, target, pipeline, as_pipeline))
            return
        run_job(ConfigJob(model, output, skip, batch_num, cfg, symmetric, target, pipeline, as_pipeline))
