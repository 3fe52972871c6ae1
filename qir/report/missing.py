"""What a page lacks, and how to get it: the report of a failed or partial run says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qir.report.document import record_digest
from qir.report.layout import has_graphviz
from qir.report.sources import JOURNAL, REPORT, SENSITIVITY, Sources

_OF_DEBUG = {
    "error": "The error along the graph for weights and activations apart",
    "distribution": "Distributions of weights and results",
    "channels": "Distributions by channel",
    "partial": "Which layers to raise together",
}


@dataclass(frozen=True)
class Missing:
    """Something that is not on the page, and what to do (empty: nothing)."""

    what: str
    cure: str = ""


def missing_parts(sources: Sources) -> list[Missing]:
    """Everything that is missing, the most important first."""
    return [*_unreadable(sources), *_of_report(sources), *_of_debug(sources)]


def _unreadable(sources: Sources) -> Iterator[Missing]:
    for problem in sources.problems:
        yield Missing(problem, "make it again")
    record = sources.paths.get(REPORT)
    if record is not None and sources.get(REPORT, "record"):
        beside = record.with_name(record.name.removesuffix("report.json") + "record.txt")
        if not beside.is_file():
            yield Missing(
                "The files of the model: they are no longer beside the report", "quantize the model again"
            )
        elif record_digest(beside) != sources.get(REPORT, "record"):
            yield Missing(
                "The report of the model in place: this one is of an earlier model with the same prefix",
                "quantize the model again",
            )


def _of_report(sources: Sources) -> Iterator[Missing]:
    if REPORT not in sources.documents:
        if JOURNAL in sources.documents:
            yield Missing(
                "The model: the search has not come to its end", "run the same `qir auto` or `qir tune` again"
            )
        else:
            yield Missing(
                "The report of a quantized model", "qir quantize MODEL --data DATA -o PREFIX --report"
            )
        return
    if not sources.entries(REPORT, "layers"):
        yield Missing("The model: the job wrote none")
        return
    if sources.get(REPORT, "summary", "accuracy") is None:
        yield Missing(
            "Accuracy before and after: nobody has measured it", "qir auto measures it with --evaluator"
        )
    if not sources.entries(REPORT, "outputs"):
        yield Missing("Similarity of outputs: there were no data to compare on", "give --data, and --report")
    if not any(row.get("cumulative") for row in sources.entries(REPORT, "layers")):
        yield Missing("Similarity of each layer: it was not asked for", "qir quantize … --report")
    if not sources.entries(REPORT, "histograms"):
        yield Missing("Histograms: no calibration statistics were kept")
    if not has_graphviz():
        yield Missing(
            "A drawing by Graphviz: `dot` is not installed here, so boxes are placed in simple layers",
            "install Graphviz",
        )


def _of_debug(sources: Sources) -> Iterator[Missing]:
    if not any(name in sources.documents for name in (SENSITIVITY, "sensitivity_node")):
        yield Missing(
            "What quantizing one layer does to the model's outputs",
            "qir sensitivity MODEL --data DATA --mode model -o PREFIX",
        )
    failed = {step.get("kind"): step.get("problem") for step in sources.entries("debug", "steps")}
    for name, what in _OF_DEBUG.items():
        if name not in sources.documents:
            problem = failed.get(name)
            yield Missing(f"{what}: {problem}" if problem else what, "qir debug all")
