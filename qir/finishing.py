"""The end of the main job: files written, compared with the float model, proven; and the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qir.backends.fake_quant import lower
from qir.backends.files import Paths
from qir.backends.inspection import Inspected, write_inspected_files
from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.report import Report, report_layers
from qir.report.document import About, report_document, report_path, write_document
from qir.report.notes import notes
from qir.report.shapes import shapes_of
from qir.report.similarity import LayerSimilarity, measure_layers
from qir.runtime.compare import OutputComparison, Recording, compare_recorded, record_outputs
from qir.runtime.memory import return_freed_memory
from qir.runtime.progress import Progress
from qir.runtime.session import Session
from qir.runtime.units import Unit

COMPARED_UNITS = 8
"""Samples on which float and fake-quant outputs are compared for the report: enough to tell a good result
from a bad one, to a decibel or so, at a tenth of the time that calibration takes."""


@dataclass(frozen=True)
class Files:
    """What is to be written where (nothing without `output`), on how many samples it is to be proven.

    `floats` is the float graph with which each layer is compared; None: layers are not compared.
    """

    output: str | os.PathLike[str] | None
    about: About
    proof_samples: int
    floats: Graph | None = None


@dataclass(frozen=True)
class Finished:
    """What was written, None without an output, and what is known of it."""

    paths: Paths | None
    report: Report
    similarity: LayerSimilarity | None
    report_path: Path | None = None


def finish(original: Graph, ours: bool, graph: Graph, context: Context, files: Files) -> Finished:
    """Write and prove the files, compare the graph with the float one, released if `ours`, and report."""
    size, form, progress = _float_bytes(original), files.about.form, context.progress
    recording = _recorded(original, ours, context, max(files.proof_samples, COMPARED_UNITS))
    return_freed_memory()
    units: Sequence[Unit] = () if recording is None else recording.units
    samples = [unit.feeds for unit in units]
    written: Inspected | None = None
    outputs: tuple[OutputComparison, ...] = ()
    if files.output is not None:
        proven = samples[: files.proof_samples]
        written = write_inspected_files(graph, files.output, form, proven, recording, progress)
        outputs = written.outputs
    elif recording is not None:
        outputs = _compared(graph, form, recording, progress)
    floats = files.floats
    similarity = None if floats is None else measure_layers(floats, graph, form, units, progress)
    report = Report(
        report_layers(graph, shapes_of(graph, samples[0]) if samples else {}),
        outputs,
        size,
        0 if written is None else written.paths.deploy_model.stat().st_size,
        tuple(notes(graph, outputs, without_data=recording is None)),
        () if written is None else written.findings,
        None if written is None else written.proof,
        len(units),
    )
    done = Finished(None if written is None else written.paths, report, similarity)
    return done if files.output is None else _with_document(done, graph, files, context)


def _with_document(done: Finished, graph: Graph, files: Files, context: Context) -> Finished:
    """Write the report as JSON beside the files."""
    document = report_document(
        done.report,
        graph,
        files.about,
        collected=context.collected,
        similarity=done.similarity,
        paths=done.paths,
    )
    assert files.output is not None
    path = report_path(files.output)
    write_document(document, path)
    return replace(done, report_path=path)


def _compared(
    graph: Graph, form: str, recording: Recording, progress: Progress
) -> tuple[OutputComparison, ...]:
    """How near the outputs of the fake-quant graph, which no file holds, are to the recorded ones."""
    lowered = lower(graph, form, recording.units[0].feeds)
    candidate = Session(lowered, threads=1)
    lowered.release()
    return compare_recorded(recording, candidate, progress)


def _recorded(original: Graph, ours: bool, context: Context, limit: int) -> Recording | None:
    """What the float model returns for the first samples, its session closed again; None without data."""
    if context.data is None:
        return None
    reference = Session(original, threads=1)
    if ours:  # its weights, unless passes left them as they were, are needed no longer
        original.release()
    return record_outputs(reference, context.data, limit)


def _float_bytes(graph: Graph) -> int:
    """Bytes of the float model's constants: what the weights take in its file."""
    return sum(v.constant.data.nbytes for v in graph.constants if v.constant is not None)
