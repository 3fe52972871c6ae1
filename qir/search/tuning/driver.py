"""The front of tuning: a model, data and an evaluator in, the cheapest mixture that satisfies out."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace

from qir.backends.files import check_prefix
from qir.backends.targets import target_named
from qir.config.levels.convert import levels_config
from qir.config.levels.file import Levels
from qir.config.open import ConfigSource
from qir.config.run import check_statistics
from qir.runtime.data import DataSource
from qir.runtime.progress import Progress
from qir.runtime.statistics_file import Statistics
from qir.search.asked import accuracy_rule, search_limits
from qir.search.ending import PROOF_SAMPLES
from qir.search.evaluators import EvaluatorSource, open_evaluator
from qir.search.inputs import ModelArgument, SearchInputs, open_inputs
from qir.search.opened import SearchOutputs
from qir.search.rungs import RUNGS, check_rungs
from qir.search.search import silent
from qir.search.sensitivity import SensitivitySource, ranking_by, sensitivity_digest
from qir.search.steps import Listener
from qir.search.strategies import Strategy, strategy_named
from qir.search.tuning.job import TuneJob, config_files, run_tuning
from qir.search.tuning.result import TuneResult
from qir.search.tuning.start import start_levels


def tune(
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
    ladder: Sequence[str] = RUNGS,
    strategy: str | Strategy = "BinarySearch",
    sensitivity: SensitivitySource = "cosine-similarity",
    sensitivity_mode: str = "model",
    max_evaluations: int | None = None,
    max_time: float | None = None,
    keep_best: bool = False,
    restart: bool = False,
    target: str = "ascend",
    pipeline: str = "default",
    config: ConfigSource | None = None,
    method: str | None = None,
    skip: str | Sequence[str] = (),
    form: str | None = None,
    proof_samples: int = PROOF_SAMPLES,
    compare_layers: bool = False,
    listener: Listener = silent,
    progress: Progress | None = None,
) -> TuneResult:
    """Find the cheapest mixture of precisions with which the model keeps the accuracy that is asked for.

    The bounds come first: every layer in INT8, then on each rung of the `ladder` (`int16`, `int16-ec`,
    `float16`; `float32` needs none). Then layers are raised, the most sensitive first, and as little as will
    do: each to a rung on which it alone costs less than a threshold, which `strategy` bisects; and of what
    was found, layers are lowered again. A configuration costs the rungs that its layers were raised,
    in sum; the cheapest that satisfies is kept. What the `target` does not have is no rung there.

    `evaluator`, `max_drop`, `at_least`, `higher_is_better`, `relative`, `sensitivity`, `statistics`, limits
    journal and `compare_layers` are as for `auto_quantize`; a function as `sensitivity` is called with the
    model on each rung. `config` is a `quant_config` to start from: what it says of op
    types, subgraphs and nodes stays. `method` calibrates activations (None: as `config` or the pipeline
    says); `search`, or a search in `config`, chooses one for all by the outputs of the model in INT16. Layers
    of `skip` stay in float.

    Files of the prefix `output` are as `quantize` writes them, and `<output>_quant_config.json` is the
    mixture with which `quantize` makes them again, bit for bit, from the same model, data, target and
    pipeline. When no mixture satisfies, nothing is left but journal and report, unless `keep_best` asks for
    the nearest.

    Raises a QirError that says what to do; the journal and the best model so far are then in place.
    """
    judge = open_evaluator(evaluator, accuracy_rule(max_drop, at_least, higher_is_better, relative))
    rungs, limits = check_rungs(ladder, "rung"), search_limits(max_evaluations, max_time)
    proposer, rank = strategy_named(strategy), ranking_by(sensitivity, sensitivity_mode)
    shape = target_named(target).form(form)
    check_prefix(output)
    files = config_files(os.fspath(output), config)
    inputs = open_inputs(
        model, data, judge, statistics=statistics, target=target, pipeline=pipeline, progress=progress
    )
    names = (skip,) if isinstance(skip, str) else tuple(skip)
    start = start_levels(config, method, names, inputs.model)
    outputs = SearchOutputs(
        os.fspath(output), shape, proof_samples, keep_best, restart,
        listener=listener, compare_layers=compare_layers,
    )  # fmt: skip
    measured = sensitivity_digest(sensitivity, sensitivity_mode)
    job = TuneJob(_tuned_from(inputs, start), outputs, start, rungs, proposer, rank, measured, limits)
    return run_tuning(job, files)


def _tuned_from(inputs: SearchInputs, start: Levels) -> SearchInputs:
    """The inputs with what tuning starts from among the settings; ConfigError for what is wrong in it."""
    config = levels_config(start, inputs.model)
    check_statistics(config, inputs.model.target, inputs.context.statistics)
    return replace(inputs, settings={**inputs.settings, "tuned": json.dumps(start.fields())})
