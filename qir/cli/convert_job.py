"""The work of `qir convert`: the job that fits what the user has, and what came out of it."""

from __future__ import annotations

from dataclasses import dataclass

from qir.cli.check_job import LISTED, finding_lines
from qir.cli.layer_table import plain_console, print_layers, print_line
from qir.cli.proof_lines import proof_lines
from qir.conversion import Converted, convert_qdq, convert_record
from qir.ir.errors import ConfigError


@dataclass(frozen=True)
class ConvertJob:
    """What one call of `qir convert` is asked to do; the fields are its arguments and options."""

    model: str
    record: str | None
    output: str
    pipeline: str | None
    form: str
    data: str | None
    quiet: bool


def run_job(job: ConvertJob) -> None:
    """Convert, then print what became of the layers (nothing with `quiet`)."""
    result = _convert(job)
    if job.quiet:
        return
    console = plain_console()
    print_layers(console, result.layers)
    quantized = sum(layer.is_quantized for layer in result.layers)
    console.print(f"{quantized} of {len(result.layers)} layers run in integers")
    for removed in result.removed[:LISTED]:
        print_line(console, f"note: {removed}")
    if len(result.removed) > LISTED:
        print_line(console, f"note: and {len(result.removed) - LISTED} more pairs; qir-opt --stats lists all")
    for line in (*finding_lines(result.findings, LISTED), *proof_lines(result.proof)):
        print_line(console, line)
    for path in result.paths:
        console.print(f"wrote {path}", soft_wrap=True)


def _convert(job: ConvertJob) -> Converted:
    if job.record is not None:
        pipeline = "amct" if job.pipeline is None else job.pipeline
        return convert_record(
            job.model, job.record, job.output, pipeline=pipeline, form=job.form, data=job.data
        )
    if job.pipeline is not None:
        raise ConfigError(
            "--pipeline says which fusions come before a record; give --record, or leave it out"
        )
    return convert_qdq(job.model, job.output, form=job.form, data=job.data)
