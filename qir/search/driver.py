"""The front of the search: a model, data and an evaluator in, the largest INT8 share that satisfies out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qir.backends.files import check_prefix
from qir.backends.targets import target_named
from qir.config.open import ConfigSource
from qir.runtime.data import DataSource
from qir.runtime.progress import Progress
from qir.runtime.statistics_file import Statistics
from qir.search.asked import accuracy_rule, search_limits
from qir.search.ending import PROOF_SAMPLES
from qir.search.evaluators import EvaluatorSource, open_evaluator
from qir.search.final_config import start_config
from qir.search.inputs import ModelArgument, open_inputs
from qir.search.job import SearchJob, run_search
from qir.search.opened import SearchOutputs
from qir.search.rungs import check_rungs
from qir.search.search import silent
from qir.search.sensitivity import SensitivitySource, ranking_by, sensitivity_digest
from qir.search.steps import Listener, SearchResult
from qir.search.strategies import Strategy, strategy_named


def auto_quantize(
    model: ModelArgument,
    data: DataSource,
    evaluator: EvaluatorSource,
    *,
    output: str | os.PathLike[str],
    statistics: Statistics | str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    at_least: float | None = None,
    higher_is_better: bool = True,
    relative: bool = False,
    strategy: str | Strategy = "BinarySearch",
    sensitivity: SensitivitySource = "cosine-similarity",
    sensitivity_mode: str = "model",
    fallback: Sequence[str] = ("float32",),
    max_evaluations: int | None = None,
    max_time: float | None = None,
    keep_best: bool = False,
    restart: bool = False,
    target: str = "ascend",
    pipeline: str = "default",
    config: ConfigSource | None = None,
    method: str = "ifmr",
    skip: str | Sequence[str] = (),
    form: str | None = None,
    proof_samples: int = PROOF_SAMPLES,
    log_folder: str | os.PathLike[str] | None = None,
    compare_layers: bool = False,
    listener: Listener = silent,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the layers that must stay in float so that the model keeps the accuracy that is asked for.

    `evaluator` is an `Evaluator` (AMCT's contract), a function (model file -> metric), `FILE.py[:NAME]` of
    one of these, or `top1:`, `top5:`, `cosine:`, `sqnr:` with a labelled `.npz`. For those that do not decide
    themselves, `max_drop` says how much the metric may lose (`relative`: as a share of the original's), or
    `at_least` what it must reach (at most, with `higher_is_better=False`). `strategy` is a name or an object,
    `sensitivity` a metric by name or an object, measured at the model's outputs with one layer quantized at
    a time, or with `sensitivity_mode="layer"` at each layer's own, as AMCT does: then more layers stay in
    float. Rolled back layers take the first rung of `fallback` with which the accuracy is kept. The other
    arguments are those of `quantize`; with `statistics` nothing is calibrated, and the data rank the layers
    and prove the result.

    Files of the prefix `output` are as `quantize` writes them; AMCT's ranking and final configuration lie
    beside them, and its history in `log_folder` (`amct_log` beside them). `<output>_report.json` has all
    steps; with `compare_layers` it says how near each layer is to the float model. `<output>_journal.jsonl`
    remembers everything: the same call goes on where it was interrupted; `restart` begins anew. When no model
    satisfies, none is left, unless `keep_best` asks for the nearest.

    Raises a QirError that says what to do; the journal and the best model so far are then in place.
    """
    judge = open_evaluator(evaluator, accuracy_rule(max_drop, at_least, higher_is_better, relative))
    ladder, limits = check_rungs(fallback, "fallback"), search_limits(max_evaluations, max_time)
    proposer, rank = strategy_named(strategy), ranking_by(sensitivity, sensitivity_mode)
    form = target_named(target).form(form)
    check_prefix(output)
    names = (skip,) if isinstance(skip, str) else tuple(skip)
    inputs = open_inputs(
        model, data, judge, statistics=statistics, target=target, pipeline=pipeline, config=config,
        method=method, skip=names, progress=progress,
    )  # fmt: skip
    logs = None if log_folder is None else Path(log_folder)
    outputs = SearchOutputs(
        os.fspath(output), form, proof_samples, keep_best, restart, logs, listener, compare_layers
    )
    measured, start = (
        sensitivity_digest(sensitivity, sensitivity_mode),
        start_config(inputs.model, config, names),
    )
    return run_search(SearchJob(inputs, outputs, proposer, rank, measured, ladder, limits, start))
