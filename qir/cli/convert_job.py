"""The work of `qir convert`: the job that fits what the user has, and what came out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qir.cli.check_job import LISTED, finding_lines
from qir.cli.layer_table import print_layers, print_line
from qir.cli.model_argument import ModelPath
from qir.cli.proof_lines import proof_lines
from qir.console import plain_console
from qir.conversion import Converted, convert_qdq, convert_record
from qir.ir.errors import ConfigError
from qir.ir.quants import TENSOR_OPS
from qir.passes.import_qdq import BetweenFloats
from qir.report import LayerReport


@dataclass(frozen=True)
class ConvertJob:
    """What one call of `qir convert` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    record: str | None
    output: str
    pipeline: str | None
    form: str | None
    between_floats: BetweenFloats | None
    data: str | None
    quiet: bool


def run_job(job: ConvertJob) -> None:
    """Convert, then print what became of the layers (nothing with `quiet`)."""
    result = _convert(job)
    if job.quiet:
        return
    console = plain_console()
    print_layers(console, result.layers)
    console.print(_summary(result.layers))
    if result.kept:
        console.print(f"{_pairs(result.kept)} between float ops kept")
    if result.removed:
        console.print(f"{_pairs(len(result.removed))} between float ops removed")
    for removed in result.removed[:LISTED]:
        print_line(console, f"note: {removed}")
    if len(result.removed) > LISTED:
        print_line(console, f"note: and {len(result.removed) - LISTED} more pairs; qir-opt --stats lists all")
    for line in (*finding_lines(result.findings, LISTED), *proof_lines(result.proof)):
        print_line(console, line)
    for path in result.paths.written:
        console.print(f"wrote {path}", soft_wrap=True)


def _summary(layers: Sequence[LayerReport]) -> str:
    """How many layers run in integers, those left aside that no target computes so."""
    able = [layer for layer in layers if layer.op not in TENSOR_OPS]
    carried = len(layers) - len(able)
    rest = f"; {carried} more read int8 and compute in float" if carried else ""
    return f"{sum(layer.is_quantized for layer in able)} of {len(able)} layers run in integers{rest}"


def _pairs(count: int) -> str:
    return f"{count} pair{'s' if count > 1 else ''} of QuantizeLinear and DequantizeLinear"


def _convert(job: ConvertJob) -> Converted:
    if job.record is not None:
        if job.between_floats is not None:
            raise ConfigError("--between-floats is for QDQ models; a record has no pairs between float ops")
        pipeline = "amct" if job.pipeline is None else job.pipeline
        return convert_record(
            job.model, job.record, job.output, pipeline=pipeline, form=job.form or "ascend", data=job.data
        )
    if job.pipeline is not None:
        raise ConfigError(
            "--pipeline says which fusions come before a record; give --record, or leave it out"
        )
    between_floats = job.between_floats or "keep"
    return convert_qdq(
        job.model, job.output, form=job.form or "qdq", between_floats=between_floats, data=job.data
    )
