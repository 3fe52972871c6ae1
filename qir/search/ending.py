"""The end of a search: the best model written and proven, or nothing that looks like success."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from qir.backends.ascend.check import Finding
from qir.backends.files import Paths
from qir.backends.proof_result import Proof
from qir.ir.graph import Graph
from qir.report import LayerReport, report_layers
from qir.report.shapes import shapes_of
from qir.runtime.progress import Progress
from qir.search.configurations import Candidates, Configuration
from qir.search.ranking import Ranking
from qir.search.search import Search
from qir.search.steps import Outcome, SearchResult, Step

PROOF_SAMPLES = 1
"""Samples of the proof unless told otherwise: all parameters are compared anyway, and a search is to cost
little beside its evaluations, which run the model too."""


@dataclass(frozen=True)
class Ending:
    """How a search is to end: with how much proof, keeping what.

    `write_config` writes the configuration of the result, whose graph it gets, into a folder.
    """

    write_config: Callable[[Path, Graph, Configuration], None]
    proof_samples: int
    keep_best: bool
    progress: Progress


@dataclass(frozen=True)
class _Written:
    graph: Graph | None = None
    paths: Paths | None = None
    layers: tuple[LayerReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    proof: Proof | None = None


def finish(
    search: Search,
    candidates: Candidates,
    ranking: Ranking,
    found: Configuration | None,
    stopped: bool,
    how: Ending,
) -> SearchResult:
    """Write the files of what was `found`, or of the best model if that does not satisfy, and sum up.

    `stopped` says that a limit came before the strategy's end.
    """
    best = _final(search, found)
    outcome: Outcome = "stopped" if stopped else "unreachable"
    if best is not None:
        outcome = "reached"
    else:
        search.place.remove_published()
        best = search.nearest()
    written = _Written()
    if best is not None and (outcome == "reached" or how.keep_best):
        written = _write(search, candidates, best, how)
    search.place.remove_scratch()
    evaluations = search.evaluations
    return SearchResult(
        outcome, stopped, best, written.graph, written.paths, written.layers, ranking, tuple(search.steps),
        evaluations.asked, evaluations.journalled, search.changed,
        time.perf_counter() - evaluations.started, evaluations.seconds, written.findings, written.proof,
    )  # fmt: skip


def _final(search: Search, found: Configuration | None) -> Step | None:
    """The step of the strategy's result if that satisfies, else the best one that does."""
    step = None if found is None else search.step_of(found)
    return step if step is not None and step.metric_eval[0] else search.best


def _write(search: Search, candidates: Candidates, step: Step, how: Ending) -> _Written:
    configuration = step.configuration
    assert configuration is not None  # the original model is no result
    graph = candidates.graph(configuration)
    search.publish(configuration, graph)
    with how.progress.task("prove", None), ThreadPoolExecutor(1) as beside:
        shapes = beside.submit(shapes_of, graph, search.place.samples[0])
        written = search.place.inspect(graph, how.proof_samples)
        layers = report_layers(graph, shapes.result())
    how.write_config(search.place.folder, graph, configuration)
    return _Written(graph, written.paths, layers, written.findings, written.proof)
