"""The work of `qir quantize`: run the main job with progress bars and print what came out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.cli.check_job import LISTED, finding_lines
from qir.cli.config_table import chosen_config, print_rows
from qir.cli.inputs import data_source, sample_of
from qir.cli.layer_table import print_layers, print_line
from qir.cli.model_argument import ModelPath
from qir.cli.progress import RichProgress
from qir.cli.proof_lines import proof_lines
from qir.cli.similarity_table import print_similarity
from qir.config.levels.file import Levels
from qir.config.levels.searches import leaves_method_open
from qir.config.resolved_file import path_beside
from qir.console import plain_console
from qir.ir.graph import Graph
from qir.models import load
from qir.quantization import Quantized, quantize
from qir.report import Report
from qir.report.document import Accuracy, add_accuracy
from qir.report.page import write_page
from qir.runtime.session import Session
from qir.samples import Sample

_METHOD_OPEN = (
    "note: the quant_config names no calibration_type, so ranges are chosen by the pipeline's method; "
    '"modelwise_search": {} in model_config compares all methods by the outputs of the model'
)


@dataclass(frozen=True)
class QuantizeJob:
    """What one call of `qir quantize` is asked to do; the fields are its arguments and options."""

    model: ModelPath
    data: str | None
    stats: str | None
    output: str
    target: str
    pipeline: str
    method: str
    skip: tuple[str, ...]
    config: str | None
    quant_config: str | None
    show_config: bool
    form: str | None
    proof_samples: int
    report: bool
    quiet: bool


def run_job(job: QuantizeJob) -> None:
    """Quantize, then print tables to stdout (nothing with `quiet`)."""
    config = chosen_config(job.config, job.quant_config)
    if job.quant_config is not None:
        path_beside(job.output, job.quant_config)
    if job.show_config and config is None:
        raise click.UsageError("--show-config needs --quant-config or --config")
    sample = sample_of(job.model)
    data = job.data if job.stats is not None and sample is None else data_source(job.model, job.data)
    with RichProgress(quiet=job.quiet) as progress:
        result = quantize(
            job.model,
            data,
            statistics=job.stats,
            output=job.output,
            target=job.target,
            pipeline=job.pipeline,
            method=job.method,
            skip=job.skip,
            config=config,
            form=job.form,
            proof_samples=job.proof_samples,
            compare_layers=job.report,
            progress=progress,
        )
    form = target_named(job.target).form(job.form)
    accuracy = None if sample is None else _accuracy_of(sample, result.graph, form)
    if accuracy is not None and result.report_path is not None:
        add_accuracy(result.report_path, accuracy)
    page = write_page(job.output) if job.report else None
    if job.quiet:
        return
    console = plain_console()
    _print_result(console, job, result, accuracy)
    if isinstance(config, Levels) and leaves_method_open(config):
        print_line(console, _METHOD_OPEN)
    print_line(console, progress.cost())
    for path in filter(None, (*_written(result), page)):
        console.print(f"wrote {path}", soft_wrap=True)


def _print_result(console: Console, job: QuantizeJob, result: Quantized, accuracy: Accuracy | None) -> None:
    if job.show_config:
        print_rows(console, result.resolved)
    print_layers(console, result.report.layers)
    if result.similarity is not None:
        print_similarity(console, result.report.layers, result.graph, result.similarity)
    if result.report.outputs:
        console.print("fake-quant graph against float, on calibration data:")
        console.print(_output_table(result.report))
    if accuracy is not None:
        numbers = f"FP32 {accuracy.original:.4f}, fake-quant {accuracy.quantized:.4f}"
        console.print(f"accuracy on {accuracy.of}: {numbers}")
    _print_summary(console, result)


def _written(result: Quantized) -> list[Path]:
    """The models and what goes with them; there is no deploy model for some targets."""
    models = () if result.paths is None else result.paths.written
    beside = (result.resolved_path, result.scores_path, result.report_path)
    return [*models, *(path for path in beside if path is not None)]


def _output_table(report: Report) -> Table:
    table = Table()
    for heading in ("output", "cosine", "SQNR", "L1 (mean)", "L2 (rms)", "Chebyshev (max)"):
        table.add_column(heading, justify="left" if heading == "output" else "right")
    for output in report.outputs:
        distances = (f"{number:.4g}" for number in (output.l1, output.l2, output.max_abs))
        table.add_row(output.name, f"{output.cosine:.6f}", f"{output.sqnr:.1f} dB", *distances)
    return table


def _accuracy_of(sample: Sample, graph: Graph, form: str) -> Accuracy:
    """Top-1 accuracy of float and fake-quant model on the sample's labelled test set."""
    with np.load(sample.test) as test:
        feeds, labels = {k: test[k] for k in test.files if k != "labels"}, test["labels"]
    before, after = (_accuracy(g, feeds, labels) for g in (load(sample.model), lower(graph, form)))
    return Accuracy("top-1 accuracy", f"{len(labels)} test images", before, after)


def _accuracy(graph: Graph, feeds: dict[str, npt.NDArray[Any]], labels: npt.NDArray[np.int64]) -> float:
    session = Session(graph)
    scores = session.run(feeds)[session.outputs[0]]
    return float((scores.argmax(1) == labels).mean())


def _print_summary(console: Console, result: Quantized) -> None:
    report = result.report
    quantized = sum(layer.is_quantized for layer in report.layers)
    share = report.integer_share
    work = "" if share is None else f", {100 * share:.1f} % of the multiply-accumulates"
    console.print(f"{quantized} of {len(report.layers)} layers run in integers{work}")
    if report.deploy_bytes:
        console.print(f"size {_size(report.float_bytes)} -> {_size(report.deploy_bytes)}{_times(report)}")
    for note in report.notes:
        print_line(console, f"note: {note}")
    for line in (*finding_lines(report.findings, LISTED), *proof_lines(report.proof)):
        print_line(console, line)


def _times(report: Report) -> str:
    ratio = report.float_bytes / report.deploy_bytes
    return f" ({ratio:.1f}x smaller)" if ratio > 1 else ""


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
