"""One search as a job: everything that it needs, checked and opened, and how it is run."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qir.backends.files import output_paths
from qir.config.amct.file import AmctConfig
from qir.frontends.onnx import save_model
from qir.ir.errors import ConfigError
from qir.ir.fingerprint import fingerprint_of
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.pipeline import print_pipeline
from qir.runtime.session import Session
from qir.runtime.units import CalibrationData
from qir.search.amct_files import LOG_FOLDER, RANKING_FILE, print_ranking, write_text
from qir.search.configurations import Configuration, Prepared, Rung, prepare
from qir.search.ending import Ending, finish
from qir.search.evaluations import Evaluations, LimitReached, Limits
from qir.search.evaluators import Evaluator
from qir.search.fingerprints import Fingerprints, Part, first_and_digest, text_digest
from qir.search.journal import Journal, journal_path
from qir.search.published import Place
from qir.search.ranking import Rank, Ranking, check_ranking
from qir.search.search import Search
from qir.search.steps import Listener, SearchResult
from qir.search.strategies.base import MetricEval, Strategy

RANKING_KEY: tuple[Part, ...] = ("weights", "graph", "config", "data", "sensitivity")


@dataclass(frozen=True)
class SearchJob:
    """What `auto_quantize` was asked to do; its arguments, opened and checked.

    `model_file` is the model as the user's file (None: it is written for the evaluator), `config` what the
    final configuration starts from.
    """

    original: Graph
    model_file: Path | None
    passes: tuple[Pass, ...]
    context: Context
    evaluator: Evaluator
    strategy: Strategy
    rank: Rank
    sensitivity: str
    fallback: tuple[Rung, ...]
    limits: Limits
    output: str
    form: str
    proof_samples: int
    keep_best: bool
    restart: bool
    log_folder: Path | None
    listener: Listener
    config: AmctConfig
    inputs: Mapping[str, str]

    @property
    def data(self) -> CalibrationData:
        """The calibration data."""
        assert self.context.data is not None  # auto_quantize always has some
        return self.context.data


def run_search(job: SearchJob) -> SearchResult:
    """Do it. Whatever is raised, the journal has every answer, and the best model so far is in place."""
    started = time.perf_counter()
    _check_inputs_survive(job)
    session = functools.cache(lambda: Session(job.original, threads=1))  # most data need no run
    samples, data = first_and_digest(
        job.data, lambda feeds: session().run(feeds, session().outputs), max(job.proof_samples, 1)
    )
    inputs = _fingerprints(job, data)
    session.cache_clear()
    place = Place(job.output, job.form, samples)
    with Journal(journal_path(job.output)) as journal:
        changed = journal.begin(inputs, job.restart)
        place.clear()
        trusted = job.evaluator.modules()
        evaluations = Evaluations(job.evaluator, journal, inputs, job.limits, started, trusted)
        logs = job.log_folder or place.folder / LOG_FOLDER
        search = Search(evaluations, place, job.strategy, logs, job.listener)
        try:
            ending = Ending(job.config, job.proof_samples, job.keep_best, job.context.progress, changed)
            return _searched(job, search, ending)
        finally:
            place.remove_scratch()


def _searched(job: SearchJob, search: Search, ending: Ending) -> SearchResult:
    """All steps; the limits of evaluations and time end it early."""
    original = search.check_original(_model_file(job, search.place))
    prepared = prepare(job.original, job.passes, job.context)
    search.begin()
    found, stopped = None, False
    ranking = Ranking(dict.fromkeys(prepared.layers, 0.0))
    try:
        whole = search.evaluate(prepared, {}, dict.fromkeys(prepared.layers, True))
        ranking = _ranked(job, search, prepared)
        found = {} if whole[0] else _climb(job, search, prepared, ranking, whole)
        if found is None:
            search.all_rolled_back(ranking, original)
    except LimitReached:
        stopped = True
    return finish(search, prepared, ranking, found, stopped, ending)


def _climb(
    job: SearchJob, search: Search, prepared: Prepared, ranking: Ranking, whole: MetricEval
) -> Configuration | None:
    """The first rung of the ladder on which the strategy finds something."""
    for rung in job.fallback:
        found = search.fine(prepared, ranking, whole, rung)
        if found is not None:
            return found
    return None


def _ranked(job: SearchJob, search: Search, prepared: Prepared) -> Ranking:
    """The ranking, from the journal if it is there, and its file."""
    journal = search.evaluations.journal
    key = search.evaluations.inputs.key(RANKING_KEY)
    line = journal.ranking(key)
    if line is None:
        ranking = check_ranking(job.rank(prepared.closed, job.data, job.context.progress), prepared.layers)
        scores, low = dict(ranking.scores), ranking.low_is_worse
        journal.append({"kind": "ranking", "key": key, "scores": scores, "low_is_worse": low})
    else:
        ranking = check_ranking(line, prepared.layers)
    write_text(search.place.folder / RANKING_FILE, print_ranking(ranking))
    return ranking


def _fingerprints(job: SearchJob, data: str) -> Fingerprints:
    print_ = fingerprint_of(job.original).to_json()
    weights = print_.pop("constants")
    config = {"pipeline": print_pipeline(job.passes), "form": job.form, **job.inputs}
    return Fingerprints(
        weights=text_digest(repr(weights)),
        graph=text_digest(repr(print_)),
        config=text_digest(repr(sorted(config.items()))),
        data=data,
        evaluator=job.evaluator.fingerprint(),
        sensitivity=job.sensitivity,
    )


def _model_file(job: SearchJob, place: Place) -> Path:
    if job.model_file is not None:
        return job.model_file
    path = place.scratch / "original.onnx"
    save_model(job.original, path)
    return path


def _check_inputs_survive(job: SearchJob) -> None:
    """ConfigError when a file of the prefix is the input model: it is never overwritten."""
    source = job.model_file
    for path in output_paths(job.output):
        if source is not None and path.exists() and source.exists() and path.samefile(source):
            raise ConfigError(
                f"'{path}' is the input model; choose another output prefix, it is never overwritten"
            )
