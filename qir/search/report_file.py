"""The report of a search as JSON: what was tried, and the model that came out, if any."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

from qir.backends.fake_quant import lower
from qir.frontends.onnx import saved_files
from qir.ir.graph import Graph
from qir.passes.pipeline import print_pipeline
from qir.report import Report
from qir.report.document import About, Accuracy, report_document, report_path, write_document
from qir.report.notes import notes
from qir.report.plain import Entries, Json, plain
from qir.report.similarity import LayerSimilarity, measure_layers
from qir.runtime.compare import OutputComparison, Pair, compare_values, first_units
from qir.runtime.session import Session
from qir.search.configurations import lowered
from qir.search.evaluators.metric import evaluator_title
from qir.search.inputs import SearchInputs
from qir.search.search import Search
from qir.search.steps import SearchResult, Step
from qir.search.tuning.result import Phase, counts

COMPARED_UNITS = 8
"""Samples on which outputs and layers are compared when that is asked for."""


def write_search_report(
    search: Search,
    inputs: SearchInputs,
    strategy: str,
    result: SearchResult,
    compare_layers: bool,
    phases: Sequence[Phase] = (),
) -> None:
    """Write `<prefix>_report.json`, also for a search that ended without a model.

    `strategy` is its name, `phases` are those of a tuning. `compare_layers` measures how near outputs and
    layers are to the float model's.
    """
    about = About(inputs.model.target.name, print_pipeline(inputs.passes), search.place.form)
    graph, best = result.graph, result.best
    outputs: tuple[OutputComparison, ...] = ()
    similarity: LayerSimilarity | None = None
    if compare_layers and graph is not None:
        outputs, similarity = _measured(inputs, graph, search.place.form)
    document = report_document(
        _report(search, inputs, result, outputs, 0 if similarity is None else similarity.samples),
        inputs.exact if graph is None else graph,
        about,
        collected=() if graph is None else inputs.context.collected,
        similarity=similarity,
        paths=result.paths if search.place.deploys else None,
        accuracy=None if graph is None or best is None else _accuracy(inputs, result.steps[0], best),
        search=_entry(strategy, result, phases),
    )
    write_document(document, report_path(search.place.output))


def _report(
    search: Search,
    inputs: SearchInputs,
    result: SearchResult,
    outputs: Sequence[OutputComparison],
    count: int,
) -> Report:
    graph = result.graph
    size = sum(v.constant.data.nbytes for v in inputs.original.constants if v.constant is not None)
    if graph is None or result.paths is None:
        return Report((), (), size, 0)
    return Report(
        result.layers,
        tuple(outputs),
        size,
        sum(f.stat().st_size for f in saved_files(result.paths.deploy_model)) if search.place.deploys else 0,
        tuple(notes(graph, outputs, without_data=False)),
        result.findings,
        result.proof,
        count,
    )


def _measured(
    inputs: SearchInputs, graph: Graph, form: str
) -> tuple[tuple[OutputComparison, ...], LayerSimilarity]:
    """How near outputs and layers are to those of the float model, on the first samples."""
    progress = inputs.context.progress
    reference = Session(inputs.original, threads=1)
    units = first_units(inputs.data, COMPARED_UNITS, lambda feeds: reference.run(feeds, reference.outputs))
    candidate = Session(lower(graph, form, units[0].feeds), threads=1)
    pairs = [Pair(a, b) for a, b in zip(reference.outputs, candidate.outputs, strict=True)]
    found = compare_values(reference, candidate, pairs, units, total=len(units), progress=progress)
    outputs = tuple(item for item in found if item is not None)
    return outputs, measure_layers(inputs.exact, graph, form, units, progress)


def _accuracy(inputs: SearchInputs, original: Step, best: Step) -> Accuracy | None:
    """The metrics of both models where they are numbers."""
    before, after = _plain_metric(original.metric), _plain_metric(best.metric)
    if isinstance(before, str) or isinstance(after, str):
        return None
    return Accuracy("Metric", f"what {evaluator_title(inputs.evaluator)} evaluates", before, after)


def _entry(strategy: str, result: SearchResult, phases: Sequence[Phase]) -> Entries:
    steps: list[Json] = [_step(step) for step in result.steps]
    best = None if result.best is None or result.graph is None else result.best.number
    return {
        "strategy": strategy,
        "outcome": result.outcome,
        "limited": result.limited,
        "note": result.note,
        "best": best,
        "steps": steps,
        "phases": [_phase(phase) for phase in phases],
    }


def _phase(phase: Phase) -> Entries:
    metric = None if phase.step is None else _step(phase.step)["metric"]
    layers: Entries = {} if phase.step is None else dict(counts(phase.step.configuration, phase.step.total))
    return {
        "phase": phase.name,
        "layers": layers,
        "metric": metric,
        "met": phase.met,
        "raised": phase.raised,
        "evaluated": phase.evaluated,
        "note": phase.note,
    }


def _step(step: Step) -> Entries:
    """`lowered` is what the journal has: null for the original model, else rung -> layers."""
    configuration = step.configuration
    back: Json = None
    if configuration is not None:
        back = {rung: [*names] for rung, names in lowered(configuration).items()}
    metric = _plain_metric(step.metric)
    return {
        "number": step.number,
        "lowered": back,
        "metric": metric if isinstance(metric, str) else plain(metric),
        "loss": plain(float(step.metric_eval[1])),
        "satisfied": bool(step.metric_eval[0]),
    }


def _plain_metric(metric: object) -> float | str:
    if isinstance(metric, numbers.Real) and not isinstance(metric, bool):
        return float(metric)
    return f"{metric!r:.200}"
