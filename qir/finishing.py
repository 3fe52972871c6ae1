"""The end of the main job: files written, compared with the float model, proven; and the report."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from qir.backends.fake_quant import lower
from qir.backends.files import Paths
from qir.backends.inspection import Inspected, write_inspected_files
from qir.frontends.onnx import saved_files
from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.reference import Reference
from qir.report import Report, report_layers
from qir.report.document import About, report_document, report_path, write_document
from qir.report.notes import notes
from qir.report.shapes import shapes_of
from qir.report.similarity import LayerSimilarity, measure_layers
from qir.runtime.compare import OutputComparison, Recording, compare_recorded
from qir.runtime.progress import Progress
from qir.runtime.session import Session


@dataclass(frozen=True)
class Files:
    """What is to be written where (nothing without `output`), on how many samples it is to be proven.

    `floats` is the float graph with which each layer is compared; None: layers are not compared. Without
    `deploys` the target has no deploy model.
    """

    output: str | os.PathLike[str] | None
    about: About
    proof_samples: int
    floats: Graph | None = None
    deploys: bool = True


@dataclass(frozen=True)
class Finished:
    """What was written, None without an output, and what is known of it."""

    paths: Paths | None
    report: Report
    similarity: LayerSimilarity | None
    report_path: Path | None = None


def finish(reference: Reference, graph: Graph, context: Context, files: Files) -> Finished:
    """Write and prove the files, compare the graph with the float one, and report.

    Raises what the reference failed with, before anything is written.
    """
    if reference.failure is not None:
        raise reference.failure
    form, progress, recording = files.about.form, context.progress, reference.recording
    samples = [unit.feeds for unit in reference.units]
    written: Inspected | None = None
    outputs: tuple[OutputComparison, ...] = ()
    if files.output is not None:
        proven = files.proof_samples
        written = write_inspected_files(
            graph, files.output, form, samples, proven, recording, progress, deploys=files.deploys
        )
        outputs = written.outputs
    elif recording is not None:
        outputs = _compared(graph, form, recording.result(), progress)
    floats = files.floats
    similarity = None if floats is None else measure_layers(floats, graph, form, reference.units, progress)
    report = Report(
        report_layers(graph, shapes_of(graph, samples[0]) if samples else {}),
        outputs,
        reference.size,
        0 if written is None else _model_bytes(written.paths, files),
        tuple(notes(graph, outputs, context.rewrites.refusals(), without_data=recording is None)),
        () if written is None else written.findings,
        None if written is None else written.proof,
        0 if recording is None else len(recording.result().units),
    )
    done = Finished(None if written is None else written.paths, report, similarity)
    return done if files.output is None else _with_document(done, graph, files, context)


def _model_bytes(paths: Paths, files: Files) -> int:
    """Size of the model that is run in the end, with its data."""
    model = paths.deploy_model if files.deploys else paths.fake_quant_model
    return sum(file.stat().st_size for file in saved_files(model))


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
